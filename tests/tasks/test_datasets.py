"""tasks/datasets: published solutions are right and wrong values are not; damaged files are told by line."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ponder.core.environment import read_environment
from ponder.core.errors import ConfigError, StorageError
from ponder.core.types import Problem
from ponder.sandbox import Sandbox
from ponder.tasks.datasets import DATA_SETS, check_answer, data_set, pull_data_set

SIZES = {
    **{"gsm8k": 1319, "gsm8k-train": 7473, "math": 5000, "math-train": 7470, "math-500": 500},
    **{"aime-24": 30, "aime-25": 30, "aime-train": 975, "amc-23": 40, "amc-12": 83, "aqua": 254},
    **{"aqua-dev": 254, "olympiadbench": 675, "mmlu-stem": 3018, "mmlu-pro": 12032, "mbpp": 974},
    **{"mbpp-plus": 399, "humaneval": 164, "humaneval-plus": 164, "code-contests": 165},
    **{"livecodebench": 279, "cruxeval-output": 800, "cruxeval-input": 800, "ifeval": 541},
    **{"cmath": 600, "mgsm-zh": 250, "gaokao-qa": 351, "gaokao-cloze": 118, "gaokao-en": 383},
    **{"sat-math": 32, "arc-agi-1": 419},
}
CODE = [
    "mbpp",
    "mbpp-plus",
    "humaneval",
    "humaneval-plus",
    "code-contests",
    "livecodebench",
    "cruxeval-input",
]
PLAIN = [name for name in SIZES if name not in [*CODE, "ifeval"]]
data = pytest.mark.data


def mangled(problem: Problem) -> str:
    """A reply with another value than the right one."""
    kind = problem.data["check"]
    if kind == "choice":
        return "Answer: " + ("A" if problem.answer != "A" else "B")
    if kind == "math":
        return f"\\boxed{{{problem.answer}+1}}"
    return {
        "literal": f"Answer: [0, {problem.answer}]",
        "grid": "[[0, 1, 2]]",
        "input": "Answer: open('x')",
        "code": "```python\nprint('mangled')\n```",
    }[kind]


def judged(problems: Iterator[Problem] | list[Problem], sandbox: Sandbox | None = None) -> None:
    """Every published solution is right, every mangled one is not."""
    for problem in problems:
        if problem.data["reference"]:
            verdict = check_answer(problem, problem.data["reference"], sandbox=sandbox)
            assert verdict.status == "right", (problem.question[:80], verdict)
        verdict = check_answer(problem, mangled(problem), sandbox=sandbox)
        assert verdict.status != "right", (problem.question[:80], verdict)
        assert check_answer(problem, problem.question, sandbox=sandbox).status != "right"
        assert check_answer(problem, "", sandbox=sandbox).status == "wrong"


def test_every_set_is_counted_here_and_says_whose_it_is() -> None:
    assert set(SIZES) == set(DATA_SETS)
    assert all(its.licence and its.source for its in DATA_SETS.values())


@data
@pytest.mark.parametrize("name", PLAIN)
def test_solutions_are_right_and_other_values_are_not(name: str) -> None:
    judged(list(itertools.islice(data_set(name), 12)))


@data
@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_all_solutions_are_right(name: str) -> None:
    problems = list(data_set(name))
    assert len(problems) == SIZES[name]
    judged(problems)


@data
@pytest.mark.parametrize("name", CODE)
def test_programs_need_a_sandbox(name: str) -> None:
    problem = next(data_set(name))
    reply = problem.data["reference"] or "```python\nprint(1)\n```"
    assert check_answer(problem, reply).status == "undecided"


@data
@pytest.mark.slow
@pytest.mark.parametrize("name", CODE)
def test_solutions_pass_their_tests(name: str) -> None:
    problems = list(data_set(name))
    assert len(problems) == SIZES[name]
    judged(random.Random(name).sample(problems, 12), Sandbox())


@data
def test_instructions_are_all_known_and_judged() -> None:
    problems = list(data_set("ifeval"))
    assert len(problems) == SIZES["ifeval"]
    statuses = {check_answer(problem, "An answer, of no use").status for problem in problems}
    assert statuses <= {"right", "wrong", "undecided"} and "wrong" in statuses
    first = problems[0]
    assert check_answer(first, "*one* *two* *three* " + "word " * 300).status == "right"
    assert check_answer(first, "*one* *two* *three* " + "word, " * 300).status == "wrong"


def folder_with(tmp_path: Path, text: str | bytes, name: str = "gsm8k/test.jsonl") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path


GOOD = json.dumps({"question": "1 + 1?", "answer": "It is 2.\n#### 2"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "x"', "line 3 is not JSON"),
        ("[1]", "line 3 is no JSON object"),
        ('{"question": 1, "answer": "#### 2"}', "line 3: field 'question' is 1, not a text"),
        ('{"question": "x"}', "line 3: field 'answer' is 'missing', not a text"),
        ('{"question": "x", "answer": "2"}', "line 3: field 'answer' is '2', not a text with ####"),
        ("[" * 100_000, "line 3 is not JSON"),
    ],
)
def test_a_damaged_row_is_told_by_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    problems = data_set("gsm8k", folder_with(tmp_path, f"{GOOD}\n\n{line}\n"))
    assert next(problems).answer == "2"
    with pytest.raises(StorageError, match=r"^gsm8k/test.jsonl, ") as error:
        next(problems)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("mgsm-zh", {"messages": ["x"], "answer": "1"}),
        ("code-contests", {"problem": "x", "tests": {"inputs": ["1"], "outputs": []}}),
        ("ifeval", {"prompt": "x", "instruction_id_list": ["keywords:existence"], "kwargs": [{}]}),
        ("ifeval", {"prompt": "x", "instruction_id_list": ["keywords:existence"], "kwargs": []}),
        ("olympiadbench", {"question": "x", "final_answer": ["1"], "error": "little"}),
        ("mmlu-stem", {"question": "x", "choices": ["y"] * 30, "answer": 1}),
    ],
)
def test_a_row_of_the_wrong_shape_inside_is_told_too(
    tmp_path: Path, name: str, row: object
) -> None:
    rows = [row] if DATA_SETS[name].file.endswith(".json") else row
    folder = folder_with(tmp_path, json.dumps(rows) + "\n", DATA_SETS[name].file)
    with pytest.raises(StorageError, match=r"(?:line|row) 1.* cannot be read"):
        next(data_set(name, folder))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gsm8k/test\.jsonl below"):
        next(data_set("gsm8k", tmp_path))
    with pytest.raises(StorageError, match="cannot be read"):
        next(data_set("gsm8k", folder_with(tmp_path, b"\xff\xfe\n")))
    cut = gzip.compress(f"{GOOD}\n".encode() * 100)[:-20]
    with pytest.raises(StorageError, match=r"gsm8k/train\.jsonl\.gz below"):
        list(data_set("gsm8k-train", folder_with(tmp_path, cut, "gsm8k/train.jsonl.gz")))
    with pytest.raises(ConfigError, match="known sets: gsm8k,"):
        data_set("gsm9k", tmp_path)


def test_rows_come_one_by_one(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, f"{GOOD}\n" * 3 + "damaged")
    assert [problem.answer for _, problem in zip(range(3), data_set("gsm8k", folder))] == ["2"] * 3
    assert read_environment({}).data is None


PULL = """
import sys
from pathlib import Path
from ponder.tasks.datasets import data_set, pull_data_set
print(pull_data_set("math-500", Path(sys.argv[1])).name, next(data_set("math-500", Path(sys.argv[1]))).answer)
"""


def test_a_set_is_pulled_from_a_hub_on_loopback(tmp_path: Path) -> None:
    body = json.dumps({"problem": "1 + 1?", "solution": "\\boxed{2}", "answer": "2"}).encode()

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.endswith("datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl")
            self.send_response(200 if found else 404)
            for name, value in {
                "ETag": '"a1"',
                "X-Repo-Commit": "0" * 40,
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environ = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "cache"),
    }
    run = subprocess.run(
        [sys.executable, "-c", PULL, str(tmp_path)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    server.shutdown()
    assert run.stdout == "test.jsonl 2\n", run.stderr[-600:]
    with pytest.raises(ConfigError, match="it has: math-500,"):
        pull_data_set("aime-24", tmp_path)
