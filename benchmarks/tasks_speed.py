"""benchmarks/tasks_speed: training documents a second on one core, generator and tokenizer together, by task family.

    python benchmarks/tasks_speed.py --seconds 2 --out results.json

Time is processor time of one thread. Problems of R and O are made, but never written out as documents.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import ponder
from ponder.cli.machine import commit, machine
from ponder.tasks import FAMILIES, generate
from ponder.tasks.catalogue import FULL_MIXTURE
from ponder.text.tokenizer import Tokenizer
from ponder.train.documents import DocumentsConfig, DocumentStream

NANO = Path(ponder.__file__).parent / "models" / "nano"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="processor time for each family")
    parser.add_argument("--tokenizer", type=Path, default=NANO)
    parser.add_argument("--family", choices=sorted(FAMILIES), help="one family only")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_folder(arguments.tokenizer)
    names = [arguments.family] if arguments.family else list(FAMILIES)
    measured = {name: measure({name: 1.0}, tokenizer, arguments.seconds) for name in names}
    if not arguments.family:
        measured["all, as mixed"] = measure(FULL_MIXTURE, tokenizer, arguments.seconds)
    rows = [
        [
            name,
            f"{m['tokens_per_s']:,.0f}",
            f"{m['tokens_per_document']:.0f}",
            making(name, arguments.seconds),
        ]
        for name, m in measured.items()
    ]
    result: dict[str, Any] = {
        "title": "training documents on one core, generator and tokenizer together",
        "columns": ["family", "tokens/s", "tokens a document", "µs a problem of R, O"],
        "rows": rows,
        "facts": {
            "command": f"python benchmarks/tasks_speed.py --seconds {arguments.seconds:g}",
            "machine": machine(),
            "commit": commit(),
        },
        "all": measured,
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def measure(mixture: dict[str, float], tokenizer: Tokenizer, seconds: float) -> dict[str, float]:
    """Tokens a second over as many documents as the time allows, the first twenty left out."""
    stream = DocumentStream(DocumentsConfig(mixture=mixture), tokenizer, 7)
    for index in range(20):
        stream.document(index)
    count = tokens = 0
    start = time.process_time()
    while (passed := time.process_time() - start) < seconds:
        tokens += len(stream.document(20 + count).ids)
        count += 1
    return {
        "documents": count,
        "tokens_per_s": tokens / passed,
        "tokens_per_document": tokens / count,
    }


def making(name: str, seconds: float) -> str:
    """Microseconds to make a problem of R and of O."""
    if name not in FAMILIES:
        return ""
    times: list[str] = []
    for band in ("R", "O"):
        count = 0
        start = time.process_time()
        while (passed := time.process_time() - start) < seconds / 4:
            generate(name, band, 7, count)
            count += 1
        times.append(f"{1e6 * passed / count:.0f}")
    return ", ".join(times)


if __name__ == "__main__":
    main()
