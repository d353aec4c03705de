"""runs/report: a run as one page: curves, events, config and samples in a single file that opens without a network.

Everything a run wrote is untrusted: it reaches the page as one block of JSON, which the page's own script shows as text
and never as markup; the page's policy allows that script and that style by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from ponder.core.errors import StorageError
from ponder.runs.curves import read_metrics
from ponder.runs.folder import RunFolder, write_atomically
from ponder.runs.viewed import read_samples

LONGEST_CONFIG = 200_000

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {script_hash}; \
style-src {style_hash}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
<main id="page"><noscript>This page draws its curves with a script, and scripts are off.</noscript></main>
<script type="application/json" id="run">{data}</script>
<script>{script}</script>
</html>
"""


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """The report of a run, going on or ended, by default as report.html in its folder. Raises StorageError."""
    folder = RunFolder.open(run)
    path = Path(output) if output is not None else folder.path / "report.html"
    if not path.name or (path.exists() and not path.is_file()):  # a device would be replaced
        raise StorageError(f"{str(output)!r} is no file", "name another file with --output")
    try:
        page = render(report_data(folder))
    except OSError as error:
        raise StorageError(
            f"{str(error.filename)!r} cannot be read ({error.strerror})", "make it readable"
        ) from error
    try:
        write_atomically(path.resolve(), page)
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} cannot be written ({error.strerror or error})",
            "name another file with --output",
        ) from error
    return path


def report_data(folder: RunFolder) -> dict[str, Any]:
    """What the page shows, as plain values of bounded size."""
    metrics = read_metrics(folder.path / "metrics.jsonl")
    samples, notes = read_samples(folder.path / "samples.jsonl")
    config = (folder.path / "config.toml").read_text(encoding="utf-8", errors="replace")
    return {
        "name": folder.path.resolve().name,
        "steps": metrics.steps,
        "curves": {name: curve.values() for name, curve in metrics.curves.items()},
        "last": {name: curve.last for name, curve in metrics.curves.items()},
        "events": metrics.events,
        "checkpoints": [int(path.name) for path in folder.checkpoints()],
        "config": config[:LONGEST_CONFIG],
        "samples": samples,
        "notes": metrics.notes + notes,
    }


def render(data: dict[str, Any]) -> str:
    """The page. Its data holds no `<`, `>` or `&`, so no text in it can end the block it stands in.

    Half a surrogate pair, which no file can hold, becomes a question mark.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.encode("utf-8", "replace").decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    parts = {
        name: files("ponder.runs").joinpath(f"report.{name}").read_text("utf-8")
        for name in ("css", "js")
    }
    values = {
        "title": html.escape(f"{data['name']}: a run of Ponder")
        .encode("utf-8", "replace")
        .decode(),
        "style": parts["css"],
        "script": parts["js"],
        "style_hash": _hash(parts["css"]),
        "script_hash": _hash(parts["js"]),
        "data": text,
    }
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], PAGE)


def _hash(text: str) -> str:
    """A source of a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
