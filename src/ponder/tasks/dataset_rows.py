"""tasks/dataset_rows: one row of a published data file as a question, its answer, and what its check needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ponder.core.errors import StorageError
from ponder.verify.extract import final_answer

Check = Mapping[str, Any]
"""`{"check": kind, …}` for `datasets.check_answer`."""
BOXED = "\n\nPut your final answer within \\boxed{}."
LETTER = "\n\nAnswer with the letter of the right option."
PROGRAM = "\n\nAnswer with the whole program in one ```python block."


@dataclass(frozen=True, slots=True)
class Draft:
    """A problem without the name of its set."""

    question: str
    answer: str
    check: Check
    reference: str = ""
    """A reply that must be judged right: the published solution where there is one."""
    difficulty: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One row; fields are read by name and type, and a wrong one is told with its place."""

    values: Mapping[str, Any] = field(repr=False)
    place: str
    """File and line, e.g. `gsm8k/test.jsonl, line 7`."""

    def text(self, name: str) -> str:
        """A text field."""
        return self._typed(name, str, "a text")

    def whole(self, name: str) -> int:
        """An integer field."""
        return self._typed(name, int, "a whole number")

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        found = self.items(name)
        fine = all(isinstance(one, str) for one in found)
        return found if fine else self.fail(name, "a list of texts")

    def items(self, name: str) -> list[Any]:
        """A list."""
        return self._typed(name, list, "a list")

    def table(self, name: str) -> dict[str, Any]:
        """An object."""
        return self._typed(name, dict, "an object")

    def number(self, name: str) -> str:
        """A number, or a text, as text; 27.0 is `27`."""
        value = self._typed(name, (int, float, str), "a number")
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    def fail(self, name: str, wanted: str) -> Any:
        """Refuse the row. Raises StorageError."""
        shown = repr(self.values.get(name, "missing"))[:60]
        raise StorageError(
            f"{self.place}: field {name!r} is {shown}, not {wanted}", "Fetch the file anew."
        )

    def _typed(self, name: str, type_: Any, wanted: str) -> Any:
        value = self.values.get(name)
        if not isinstance(value, type_) or isinstance(value, bool):
            return self.fail(name, wanted)
        return value


def _math(question: str, answer: str, reference: str = "", **more: Any) -> Draft:
    return Draft(
        question + BOXED, answer, {"check": "math", **more}, reference or f"\\boxed{{{answer}}}"
    )


def gsm8k(row: Row) -> Draft:
    solution = row.text("answer")
    answer = solution.rpartition("####")[2].strip() if "####" in solution else ""
    return _math(row.text("question"), answer or row.fail("answer", "a text with ####"), solution)


def mathematics(row: Row) -> Draft:
    """MATH: the answer field, or the box of the solution."""
    solution = row.text("solution") if "solution" in row.values else ""
    answer = row.text("answer") if "answer" in row.values else final_answer(solution)
    answer = answer or row.fail("solution", "a text with an answer in a box")
    return _math(row.text("problem"), answer, solution)


def math_train(row: Row) -> Draft | None:
    """Four rows have no answer; they are left out."""
    return _math(row.text("problem"), row.text("answer")) if row.values.get("answer") else None


def prompt_number(row: Row) -> Draft:
    """AIME: the prompt asks for the box itself."""
    answer = row.number("answer")
    return Draft(row.text("prompt"), answer, {"check": "math"}, f"\\boxed{{{answer}}}")


def problem_number(row: Row) -> Draft:
    """AMC and the older AIME, whose solutions are pages by several hands."""
    return _math(row.text("problem"), row.number("answer"))


def olympiad(row: Row) -> Draft:
    answer = ", ".join(row.texts("final_answer"))
    tolerance = float(row.text("error")) if row.values.get("error") else 0.0
    context = row.values.get("context")
    question = f"{context}\n{row.text('question')}" if context else row.text("question")
    return _math(question, answer, tolerance=tolerance)


def question_answer(row: Row) -> Draft | None:
    """CMATH and the Gaokao sets. Two rows of one have no answer; they are left out."""
    return _math(row.text("question"), row.text("answer")) if row.text("answer") else None


def mgsm(row: Row) -> Draft:
    messages = row.items("messages")
    first: Any = messages[0] if messages else {}
    return _math(Row(first, row.place).text("content"), row.text("answer"))


def _choice(row: Row, question: str, options: list[str], letters: str) -> Draft:
    known = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(options)]
    if not letters or not set(letters) <= set(known):
        row.fail("answer", f"one of {known}")
    listed = "".join(f"\n{letter}) {text}" for letter, text in zip(known, options, strict=True))
    check = {"check": "choice", "options": tuple(options)}
    return Draft(f"{question}\n{listed}{LETTER}", letters, check, f"Answer: {letters}")


def aqua(row: Row) -> Draft:
    options = [option.partition(")")[2].strip() for option in row.texts("options")]
    return _choice(row, row.text("question"), options, row.text("correct"))


def mmlu_stem(row: Row) -> Draft:
    return _choice(row, row.text("question"), row.texts("choices"), chr(65 + row.whole("answer")))


def mmlu_pro(row: Row) -> Draft:
    return _choice(row, row.text("question"), row.texts("options"), row.text("answer"))


def gaokao_qa(row: Row) -> Draft:
    options: list[str] = list(row.table("options").values())
    return _choice(row, row.text("question"), options, row.text("label").replace(" ", ""))


def sat_math(row: Row) -> Draft:
    options = [part.strip() for part in re.split(r"(?:^| )[A-D][).] ", row.text("options"))[1:]]
    return _choice(row, row.text("question"), options, row.text("Answer"))


def humaneval(row: Row) -> Draft:
    prompt, name = row.text("prompt"), row.text("entry_point")
    check = {"check": "code", "test": row.text("test"), "entry_point": name, "setup": prompt}
    return Draft(
        prompt + PROGRAM, "", check, f"```python\n{prompt}{row.text('canonical_solution')}\n```"
    )


def evalplus(row: Row) -> Draft:
    """HumanEval+ and MBPP+: expected values come from running the published solution."""
    reference = row.text("prompt") + row.text("canonical_solution")
    more = [] if row.values.get("plus_input") == {} else row.items("plus_input")
    check = {
        "check": "code", "entry_point": row.text("entry_point"), "solution": reference,
        "inputs": tuple(row.items("base_input") + more), "tolerance": float(row.number("atol")),
    }  # fmt: skip
    return Draft(row.text("prompt") + PROGRAM, "", check, f"```python\n{reference}\n```")


def mbpp(row: Row) -> Draft:
    tests = row.texts("test_list")
    question = row.text("text") + "\n\nIt must pass these tests:\n" + "\n".join(tests) + PROGRAM
    check = {"check": "code", "asserts": tuple(tests), "setup": row.text("test_setup_code")}
    return Draft(question, "", check, f"```python\n{row.text('code')}\n```")


def code_contests(row: Row) -> Draft:
    tests = Row(row.table("tests"), row.place)
    cases = tuple(zip(tests.texts("inputs"), tests.texts("outputs"), strict=True))
    return Draft(row.text("problem").strip() + PROGRAM, "", {"check": "code", "cases": cases})


_SAMPLE = re.compile(
    r"Sample Input ?\d*\s*\n+(.*?)\n+Sample Output ?\d*\s*\n+(.*?)(?=\n\s*\n|$)", re.DOTALL
)


def livecodebench(row: Row) -> Draft:
    """The hidden tests are in no file: a program that fails the samples is wrong, others stay undecided."""
    prompt = row.text("prompt")
    cases = tuple((a.strip() + "\n", b.strip() + "\n") for a, b in _SAMPLE.findall(prompt))
    return Draft(prompt, "", {"check": "code", "cases": cases, "is_partial": True})


def cruxeval_output(row: Row) -> Draft:
    call = f"{row.text('code')}\n\nassert f({row.text('input')}) == ??"
    question = f"{call}\n\nWhat stands in place of ??, as a Python value? Put it after `Answer:`."
    output = row.text("output")
    return Draft(question, output, {"check": "literal"}, f"Answer: {output}")


def cruxeval_input(row: Row) -> Draft:
    code, output = row.text("code"), row.text("output")
    question = f"{code}\n\nassert f(??) == {output}\n\nGive arguments for ?? as Python values, after `Answer:`."
    check, given = {"check": "input", "code": code, "output": output}, row.text("input")
    return Draft(question, given, check, f"Answer: {given}")


def arc(row: Row) -> Draft:
    grid = row.items("answer")
    return Draft(row.text("prompt"), str(grid), {"check": "grid", "grid": grid}, f"{grid}")


def _relation(kwargs: Mapping[str, Any], relation: str, count: str) -> dict[str, Any]:
    return {"relation": kwargs[relation], "count": kwargs[count]}


_YES_NO = [f"My answer is {word}." for word in ("yes", "no", "maybe")]
INSTRUCTIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "change_case:capital_word_frequency": lambda k: {
        "kind": "capitals", **_relation(k, "capital_relation", "capital_frequency"),
    },
    "change_case:english_capital": lambda k: {"kind": "case", "case": "upper"},
    "change_case:english_lowercase": lambda k: {"kind": "case", "case": "lower"},
    "combination:repeat_prompt": lambda k: {"kind": "starts_with", "wanted": k["prompt_to_repeat"]},
    "combination:two_responses": lambda k: {"kind": "two_responses", "separator": "******"},
    "detectable_content:number_placeholders": lambda k: _at_least("placeholders", k["num_placeholders"]),
    "detectable_content:postscript": lambda k: {"kind": "postscript", "mark": k["postscript_marker"]},
    "detectable_format:constrained_response": lambda k: {"kind": "one_of", "options": _YES_NO},
    "detectable_format:json_format": lambda k: {"kind": "json"},
    "detectable_format:multiple_sections": lambda k: {
        "mark": k["section_spliter"].strip(), **_at_least("sections", k["num_sections"]),
    },
    "detectable_format:number_bullet_lists": lambda k: _exactly("bullets", k["num_bullets"]),
    "detectable_format:number_highlighted_sections": lambda k: _at_least("highlights", k["num_highlights"]),
    "detectable_format:title": lambda k: {"kind": "title"},
    "keywords:existence": lambda k: {"kind": "contains", "phrases": k["keywords"]},
    "keywords:forbidden_words": lambda k: {"kind": "forbids", "words": k["forbidden_words"]},
    "keywords:frequency": lambda k: {
        "kind": "occurs", "phrase": k["keyword"], **_relation(k, "relation", "frequency"),
    },
    "keywords:letter_frequency": lambda k: {
        "kind": "letters", "letter": k["letter"], **_relation(k, "let_relation", "let_frequency"),
    },
    "language:response_language": lambda k: {"kind": "language", "code": k["language"]},
    "length_constraints:nth_paragraph_first_word": lambda k: {
        "kind": "first_word", "paragraph": k["nth_paragraph"], "word": k["first_word"],
    },
    "length_constraints:number_paragraphs": lambda k: {
        "separator": "***", **_exactly("paragraphs", k["num_paragraphs"]),
    },
    "length_constraints:number_sentences": lambda k: {
        "kind": "sentences", **_relation(k, "relation", "num_sentences"),
    },
    "length_constraints:number_words": lambda k: {
        "kind": "words", "runs": True, **_relation(k, "relation", "num_words"),
    },
    "punctuation:no_comma": lambda k: {"kind": "without", "characters": ","},
    "startend:end_checker": lambda k: {"kind": "ends_with", "wanted": k["end_phrase"]},
    "startend:quotation": lambda k: {"kind": "quoted"},
}  # fmt: skip
"""IFEval's instructions as constraints of `verify/constraints`."""


def _exactly(kind: str, count: int) -> dict[str, Any]:
    return {"kind": kind, "relation": "exactly", "count": count}


def _at_least(kind: str, count: int) -> dict[str, Any]:
    return {"kind": kind, "relation": "at least", "count": count}


def ifeval(row: Row) -> Draft:
    names, kwargs = row.texts("instruction_id_list"), row.items("kwargs")
    constraints: list[dict[str, Any]] = []
    for name, given in zip(names, kwargs, strict=True):
        if name not in INSTRUCTIONS:
            row.fail("instruction_id_list", f"known instructions ({name})")
        constraints.append(INSTRUCTIONS[name](given))
        if name == "length_constraints:nth_paragraph_first_word":
            constraints.append(_exactly("paragraphs", given["num_paragraphs"]))
        if name.startswith("change_case:english"):
            constraints.append({"kind": "language", "code": "en"})
    return Draft(
        row.text("prompt"), "", {"check": "constraints", "constraints": tuple(constraints)}
    )
