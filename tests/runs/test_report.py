"""runs/report: nothing a run wrote becomes markup or script; large runs become small pages."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import statistics
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from ponder.cli.edge import main
from ponder.core.errors import StorageError
from ponder.runs import RunFolder
from ponder.runs.curves import MOST_CURVES, MOST_EVENTS, MOST_POINTS, Curve
from ponder.runs.lines import offsets
from ponder.runs.report import write_report
from ponder.runs.viewed import LONGEST_TEXT, MOST_SAMPLES, MOST_TOKENS

HOSTILE = [
    "</script><script>document.title='pwned'</script>",
    "<!--<script>",
    "]]><img src=x onerror=\"document.title='pwned'\">",
    "</title><svg onload=document.title='pwned'>",
    "&lt;/script&gt; &#60;b&#62; {script} {data} \\u003cb>",
    "\u2028\u2029\x00\ud800 \u202e evil",
    "__proto__",
    "'\"`${document.title='pwned'}`",
]


@pytest.fixture
def hostile(tmp_path):
    """A run in which every text, name and number is somebody else's."""
    run = RunFolder.create(tmp_path / "<b>run&lt;", "\n".join(f"# {t!r}" for t in HOSTILE))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "loss": NaN, "reward": 1e999}\n{"step": "x"}\nnot json\n[1]\n')
        file.write('{"step": 2, "loss": ' + "9" * 400 + "}\n" + "[" * 100_000 + "\n")
        for step, text in enumerate(HOSTILE, 3):
            file.write(json.dumps({"step": step, "loss": 0.5, text: 1, "": 2}) + "\n")
            file.write(json.dumps({"step": step, "event": text, text: [text]}) + "\n")
        file.write('{"step": 99, "lo')
    with (run.path / "samples.jsonl").open("a") as file:
        for step, text in enumerate(HOSTILE):
            sample = dict.fromkeys(("family", "band", "question", "thinking", "answer"), text)
            more = {"verdict": text, "reason": text, "reward": text, "advantage": True}
            tokens = [[text, -1.5], [text, None], text, [], [3, "x"], {"a": 1}]
            file.write(json.dumps({"step": step, **sample, **more, "tokens": tokens}) + "\n")
        file.write('{"step": -1, "family": ["x"], "question": {"a": 1}, "tokens": "x"}\n7\n')
    return run


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")], attrs

    def handle_data(self, data):
        if self.found[-1:] == ["script"] and data.strip():
            self.scripts.append(data)


def data_of(page: str) -> dict:
    return json.loads(Tags(page).scripts[0])


def test_hostile_text_stays_inside_the_data_and_is_whole_there(hostile):
    page = write_report(hostile.path).read_text("utf-8")
    tags = Tags(page)
    assert tags.found == [
        "html", "meta", "meta", "meta", "meta", "meta", "title", "style", "main", "noscript",
        "script", "script",
    ]  # fmt: skip
    assert "<" not in tags.scripts[0] and ">" not in tags.scripts[0] and "&" not in tags.scripts[0]
    data = data_of(page)
    samples = data["samples"]
    by_step = {sample["step"]: sample for sample in samples if "thinking" in sample}
    for step, text in enumerate(each.replace("\ud800", "?") for each in HOSTILE):
        assert by_step[step]["thinking"] == text
        assert by_step[step]["tokens"][:4] == [[text, -1.5], [text, None], [text, None], ["", None]]
        assert "reward" not in by_step[step] and "advantage" not in by_step[step]
    assert "4 lines of metrics.jsonl could not be read" in data["notes"]
    assert "1 lines of samples.jsonl could not be read" in data["notes"]
    strange = {event["about"].split()[0] for event in data["events"] if "not a" in event["event"]}
    assert strange == {"loss", "reward"}
    assert data["last"]["loss"] == 0.5


def test_the_policy_allows_this_script_and_this_style_alone(hostile):
    page = write_report(hostile.path).read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-"), policy
    assert "unsafe" not in policy and "http" not in policy
    for tag in ("script", "style"):
        block = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(block) == 1
        digest = base64.b64encode(hashlib.sha256(block[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_pages_own_script_never_makes_markup_of_text_nor_asks_the_network():
    script = files("ponder.runs").joinpath("report.js").read_text("utf-8")
    banned = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|srcdoc|fetch\(|XMLHttp|import\("
    assert not re.findall(banned, script)
    for name in ("report.js", "report.css"):
        found = re.findall(r"https?://\S+", files("ponder.runs").joinpath(name).read_text("utf-8"))
        assert all("w3.org" in each for each in found), found
        assert "url(" not in files("ponder.runs").joinpath(name).read_text("utf-8")


@pytest.mark.parametrize("count", [1, MOST_POINTS, MOST_POINTS + 1, 5 * MOST_POINTS + 7])
def test_a_joined_curve_keeps_mean_extremes_and_order(count):
    source = random.Random(count)
    values = [source.gauss(0, 1) for _ in range(count)]
    curve = Curve()
    for step, value in enumerate(values):
        curve.add(step, value)
    made = curve.values()
    assert len(made["x"]) <= MOST_POINTS and made["x"] == sorted(made["x"]) and made["x"][0] == 0
    width = made["width"]
    parts = [values[at : at + width] for at in range(0, count, width)]
    assert made["y"] == pytest.approx([statistics.fmean(part) for part in parts], rel=1e-5)
    if width > 1:
        assert made["low"] == pytest.approx([min(part) for part in parts], rel=1e-5)
        assert made["high"] == pytest.approx([max(part) for part in parts], rel=1e-5)
    else:
        assert "low" not in made and made["y"] == pytest.approx(values, rel=1e-5)
    assert curve.last == values[-1]


def test_a_large_run_is_a_small_page_and_says_what_it_left_out(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    with (run.path / "metrics.jsonl").open("w") as file:
        for step in range(3000):
            file.write(json.dumps({"step": step, "loss": 1 / (step + 1)}) + "\n")
            if step % 2:
                file.write(json.dumps({"step": step, "event": "alarm"}) + "\n")
        file.write(json.dumps({"step": 3000} | {f"m{i}": i for i in range(500)}) + "\n")
    with (run.path / "samples.jsonl").open("w") as file:
        for index in range(4000):
            sample = {
                "step": index // 40,
                "family": "x",
                "question": "q" * (40_000 if index == 3960 else 9),
            }
            sample["tokens"] = [["t", -0.1]] * (MOST_TOKENS + 5) if index == 3999 else []
            file.write(json.dumps(sample) + "\n")
    page = write_report(run.path, tmp_path / "page.html").read_text("utf-8")
    assert len(page) < 500_000
    data = data_of(page)
    assert len(data["curves"]) == MOST_CURVES and len(data["curves"]["loss"]["x"]) <= MOST_POINTS
    steps = [sample["step"] for sample in data["samples"]]
    assert len(steps) == MOST_SAMPLES and steps[0] == 99 and steps[-1] == 0
    assert all(steps.count(step) == 40 for step in steps), "a step is shown whole"
    assert all(b - a <= 13 for a, b in zip(sorted(set(steps)), sorted(set(steps))[1:]))
    assert data["samples"][0]["question"].endswith(f"[{40_000 - LONGEST_TEXT} more characters]")
    assert {s.get("more_tokens") for s in data["samples"]} == {None, 5}
    assert len(data["events"]) == MOST_EVENTS and data["events"][-1]["step"] == 2999
    assert len(data["notes"]) == 3, data["notes"]


def test_texts_with_thinking_inside_are_split_and_empty_runs_are_fine(tmp_path):
    run = RunFolder.create(tmp_path / "run", "seed = 1\n")
    assert data_of(write_report(run.path).read_text("utf-8"))["samples"] == []
    run.add_sample({"step": 5, "family": "arithmetic", "text": "1+1=2</think>\n\n2"})
    run.log({"step": 5, "loss": 0.1})
    data = data_of(write_report(run.path).read_text("utf-8"))
    assert data["samples"] == [
        {"step": 5, "family": "arithmetic", "thinking": "1+1=2", "answer": "2"}
    ]
    assert data["config"] == "seed = 1\n" and data["steps"] == 5


def test_the_command_prints_the_file_and_refuses_what_is_no_run(tmp_path, capsys):
    run = RunFolder.create(tmp_path / "run", "")
    assert main(["report", str(run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(run.path / "report.html")
    assert main(["report", str(tmp_path)]) == StorageError.exit_code
    assert "holds no run" in capsys.readouterr().err
    assert main(["report", str(run.path), "--output", str(tmp_path / "no" / "page.html")]) == 5
    assert "name another file with --output" in capsys.readouterr().err
    (tmp_path / "pipe").symlink_to("/dev/null")
    for place in ("", str(tmp_path), str(tmp_path / "pipe")):
        assert main(["report", str(run.path), "--output", place]) == 5
        assert f"{place!r} is no file" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_char_device(), "a device is never replaced"


def test_overlong_and_half_written_lines_are_skipped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    middle = '{"step": 2, "t": "' + "x" * 500 + '"}'
    path.write_text(f'{{"step": 1}}\n{middle}\n{{"step": 3}}\n{{"step"')
    found = [record for _, record in offsets(path, longest=64)]
    assert found == [{"step": 1}, None, {"step": 3}]
