"""tasks/datasets: published problem sets as `Problem`s, read from a folder of data files, and how answers are checked.

Nothing here is generated. Band O, but for the sets named `…-train`, which are band R. Files are read line by line; a
missing file or a row that is not as it should be is a StorageError that names the file and line.
"""

from __future__ import annotations

import ast
import gzip
import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ponder.core.environment import read_environment
from ponder.core.errors import ConfigError, NetworkError, StorageError
from ponder.core.types import Problem, Verdict
from ponder.tasks import dataset_rows as rows
from ponder.tasks.dataset_rows import Draft, Row
from ponder.verify.answers import check_choice, check_grid, check_literal
from ponder.verify.code import CodeTests, Runner, check_code
from ponder.verify.constraints import check_constraints
from ponder.verify.extract import final_answer
from ponder.verify.judge import Judge
from ponder.verify.mathematics import check_math

MAX_LINE = 16_000_000
"""Characters of one row."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One published set: its file below the data folder, how a row is read, and whose work it is."""

    file: str
    read: Callable[[Row], Draft | None]
    licence: str
    source: str
    hub: tuple[str, str] | None = None
    """Repository and file on the Hugging Face hub with the same rows, where there is one in this format."""

    @property
    def is_training(self) -> bool:
        """True for the training half of a set."""
        return "train" in self.file


_QWEN_MATH = "github.com/QwenLM/Qwen2.5-Math"
_QWQ = "github.com/QwenLM/QwQ"
_RLLM = "github.com/agentica-project/rllm"
_MAA = "MIT or Apache-2.0 of the copying repository; statements by the MAA"
_CRUX = "github.com/facebookresearch/cruxeval"
_CRUX_HUB = ("cruxeval-org/cruxeval", "test.jsonl")
DATA_SETS: dict[str, DataSet] = {
    "gsm8k": DataSet("gsm8k/test.jsonl", rows.gsm8k, "MIT", "github.com/openai/grade-school-math"),
    "gsm8k-train": DataSet("gsm8k/train.jsonl.gz", rows.gsm8k, "MIT", "github.com/openai/grade-school-math"),
    "math": DataSet("math/test.jsonl.gz", rows.mathematics, "MIT", "github.com/deepseek-ai/DeepSeek-Coder"),
    "math-train": DataSet("math/train.json", rows.math_train, "MIT", _RLLM),
    "math-500": DataSet(
        "math500/test.jsonl", rows.mathematics, "MIT", "github.com/hkust-nlp/simpleRL-reason",
        ("HuggingFaceH4/MATH-500", "test.jsonl"),
    ),
    "aime-24": DataSet("aime/aime24.jsonl", rows.prompt_number, _MAA, _QWQ),
    "aime-25": DataSet("aime/aime25.jsonl", rows.prompt_number, _MAA, _QWQ),
    "aime-train": DataSet("aime/aime_1983_2023_train.json", rows.problem_number, _MAA, _RLLM),
    "amc-23": DataSet("amc/amc23.jsonl", rows.problem_number, _MAA, _QWEN_MATH),
    "amc-12": DataSet("amc/amc12_2022_2023.json", rows.problem_number, _MAA, _RLLM),
    "aqua": DataSet("aqua/test.jsonl", rows.aqua, "Apache-2.0", "github.com/google-deepmind/AQuA"),
    "aqua-dev": DataSet("aqua/dev.jsonl", rows.aqua, "Apache-2.0", "github.com/google-deepmind/AQuA"),
    "olympiadbench": DataSet("olympiadbench/test.jsonl", rows.olympiad, "not stated upstream", _QWEN_MATH),
    "mmlu-stem": DataSet("mmlu-stem/test.jsonl", rows.mmlu_stem, "MIT", _QWEN_MATH),
    "mmlu-pro": DataSet("mmlu-pro/test.jsonl.gz", rows.mmlu_pro, "Apache-2.0", "github.com/TIGER-AI-Lab/MMLU-Pro"),
    "mbpp": DataSet("mbpp/mbpp.jsonl", rows.mbpp, "CC-BY-4.0", "github.com/deepseek-ai/DeepSeek-Coder"),
    "mbpp-plus": DataSet("mbpp/MbppPlus-v0.1.0.jsonl", rows.evalplus, "Apache-2.0", "github.com/QwenLM/Qwen3-Coder"),
    "humaneval": DataSet("humaneval/HumanEval.jsonl.gz", rows.humaneval, "MIT", "github.com/openai/human-eval"),
    "humaneval-plus": DataSet(
        "humaneval-plus/HumanEvalPlus.jsonl.gz", rows.evalplus, "Apache-2.0",
        "github.com/evalplus/humanevalplus_release",
    ),
    "code-contests": DataSet("code-contests/test.json", rows.code_contests, "CC-BY-4.0", _RLLM),
    "livecodebench": DataSet("livecodebench/livecodebench_v5.jsonl", rows.livecodebench, "Apache-2.0", _QWQ),
    "cruxeval-output": DataSet("cruxeval/cruxeval.jsonl", rows.cruxeval_output, "MIT", _CRUX, _CRUX_HUB),
    "cruxeval-input": DataSet("cruxeval/cruxeval.jsonl", rows.cruxeval_input, "MIT", _CRUX, _CRUX_HUB),
    "ifeval": DataSet(
        "ifeval/ifeval.jsonl", rows.ifeval, "Apache-2.0", _QWQ, ("google/IFEval", "ifeval_input_data.jsonl"),
    ),
    "cmath": DataSet("zh-math/cmath.jsonl", rows.question_answer, "MIT or BSD", _QWEN_MATH),
    "mgsm-zh": DataSet("zh-math/mgsm_zh.jsonl", rows.mgsm, "CC-BY-4.0", "github.com/deepseek-ai/DeepSeek-Math"),
    "gaokao-qa": DataSet("zh-math/gaokao_math_qa.jsonl", rows.gaokao_qa, "not stated upstream", _QWEN_MATH),
    "gaokao-cloze": DataSet("zh-math/gaokao_math_cloze.jsonl", rows.question_answer, "not stated upstream", _QWEN_MATH),
    "gaokao-en": DataSet("zh-math/gaokao2023en.jsonl", rows.question_answer, "not stated upstream", _QWEN_MATH),
    "sat-math": DataSet("zh-math/sat_math.jsonl", rows.sat_math, "not stated upstream", _QWEN_MATH),
    "arc-agi-1": DataSet("arc-agi-1/arc_agi_1.jsonl", rows.arc, "Apache-2.0", "github.com/QwenLM/Qwen3"),
}  # fmt: skip
"""Name → set. Licences are those that the source states; the statements of competitions belong to their makers."""


def data_set(name: str, root: Path | None = None) -> Iterator[Problem]:
    """The problems of a set, in the order of its file. `root` is the data folder; None: PONDER_DATA.

    `Problem.data` holds what `check_answer` needs, and `reference`, a reply that is right, where one is published.
    Raises ConfigError for an unknown name or no folder, StorageError for a missing or damaged file.
    """
    if name not in DATA_SETS:
        raise ConfigError(f"unknown data set {name!r}", f"known sets: {', '.join(DATA_SETS)}")
    folder = root or read_environment().data
    if folder is None:
        raise ConfigError("no folder of data sets is named", "Set PONDER_DATA to it.")
    return _problems(name, DATA_SETS[name], folder)


def pull_data_set(name: str, root: Path) -> Path:
    """Fetch a set's file from the Hugging Face hub to its place below `root`; a set that is not there in this format
    is a ConfigError that names those that are. Raises NetworkError."""
    wanted = DATA_SETS[name].hub if name in DATA_SETS else None
    if wanted is None:
        known = ", ".join(known for known, its in DATA_SETS.items() if its.hub)
        raise ConfigError(f"the hub has no data set {name!r} in this format", f"it has: {known}")
    hub = importlib.import_module("huggingface_hub")
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        fetched = Path(hub.hf_hub_download(wanted[0], wanted[1], repo_type="dataset"))
    except (errors.HTTPError, errors.LocalEntryNotFoundError, OSError, ValueError) as error:
        raise NetworkError(
            f"{wanted[0]!r} could not be fetched: {error}", "Check the network."
        ) from None
    place = root / DATA_SETS[name].file
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + ".part")
    shutil.copyfile(fetched, part)
    part.replace(place)
    return place


def _problems(name: str, its: DataSet, folder: Path) -> Iterator[Problem]:
    for row in _rows(folder / its.file, its.file):
        try:
            draft = its.read(row)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{row.place} cannot be read: {error!r}", "Fetch the file anew."
            ) from None
        if draft is not None:
            band, form = "R" if its.is_training else "O", " ".join(draft.question.split())
            data = {**draft.check, "reference": draft.reference}
            yield Problem(name, band, draft.question, draft.answer, form, draft.difficulty, data)


def _rows(path: Path, shown: str) -> Iterator[Row]:
    """The objects of a JSON Lines file (gzipped or not), one by one, or of one JSON list."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="\n") as file:
            if path.suffix == ".json":
                yield from (
                    _row(value, f"{shown}, row {n}") for n, value in enumerate(json.load(file), 1)
                )
                return
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                if line.strip():
                    yield _row(_parsed(line, f"{shown}, line {number}"), f"{shown}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StorageError(
            f"{shown} below {path.parents[shown.count('/')]} cannot be read: {error}",
            "Put the published file there, or fetch it anew.",
        ) from None


def _parsed(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{place} is not JSON: {error}", "Fetch the file anew.") from None


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise StorageError(f"{place} is no JSON object", "Fetch the file anew.")
    return Row(value, place)  # pyright: ignore[reportUnknownArgumentType]


def check_answer(
    problem: Problem, answer: str, *, judge: Judge | None = None, sandbox: Runner | None = None
) -> Verdict:
    """The verdict on a reply to a problem of a data set.

    Programs run in `sandbox` only: without one they are undecided. `judge` decides what exact mathematics cannot.
    """
    data = problem.data
    match data.get("check"):
        case "math":
            return check_math(
                answer, problem.answer, tolerance=data.get("tolerance", 0.0), judge=judge
            )
        case "choice":
            return check_choice(answer, problem.answer, data["options"])
        case "literal":
            return check_literal(answer, problem.answer)
        case "grid":
            return check_grid(answer, data["grid"])
        case "constraints":
            return check_constraints(answer, data["constraints"])
        case "code":
            return _check_program(problem, answer, sandbox)
        case "input":
            return _check_input(problem, answer, sandbox)
        case _:
            raise ConfigError(
                f"{problem.family!r} is no data set", f"known sets: {', '.join(DATA_SETS)}"
            )


def _check_program(problem: Problem, answer: str, sandbox: Runner | None) -> Verdict:
    data = problem.data
    if sandbox is None:
        return Verdict("undecided", "no sandbox to run the program in")
    if "cases" in data:
        tests = CodeTests(cases=data["cases"], time_s=10.0)
    elif "asserts" in data:
        tests = CodeTests.of_asserts(data["asserts"], data["setup"])
    elif "inputs" in data:
        name, solution, inputs = data["entry_point"], data["solution"], data["inputs"]
        tests = CodeTests.of_reference(
            name, solution, inputs, tolerance=data["tolerance"], time_s=20.0
        )
    else:
        tests = CodeTests.of_check(data["test"], data["entry_point"], data["setup"])
    verdict = check_code(answer, tests, sandbox)
    if data.get("is_partial") and verdict.status == "right":
        return Verdict("undecided", "the samples pass; the other tests are not in the file")
    return verdict


def _check_input(problem: Problem, answer: str, sandbox: Runner | None) -> Verdict:
    """CRUXEval's other half: any arguments that give the output are right. Only literal values are run."""
    given = (final_answer(answer) or "").strip("` ")
    try:
        arguments = ast.literal_eval(f"({given},)")
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return Verdict("wrong", "no list of Python values")
    if sandbox is None:
        return Verdict("undecided", "no sandbox to run the function in")
    tests = CodeTests(check=f"assert f(*{arguments!r}) == {problem.data['output']}", names=("f",))
    return check_code(f"```python\n{problem.data['code']}\n```", tests, sandbox)
