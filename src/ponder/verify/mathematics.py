"""verify/mathematics: is this the expected mathematical answer? Exactly, in any usual notation.

What normal forms decide is decided here; the rest goes to a `Judge`, and without one is undecided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

from ponder.core.types import Verdict
from ponder.verify.extract import final_answer
from ponder.verify.formula import FormulaError, FormulaLimitError, Node, read_formula
from ponder.verify.judge import Judge
from ponder.verify.normal import Value, are_equal, are_proportional, plus, times, to_float, value_of
from ponder.verify.numbers import clip

_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_ALIKE = {
    "feet": "ft",
    "foot": "ft",
    "inches": "in",
    "inche": "in",
    "centimeter": "cm",
    "meter": "m",
    "hour": "hr",
}


def check_math(
    answer: str, expected: str, *, tolerance: float = 0.0, judge: Judge | None = None
) -> Verdict:
    """Compare the final answer of a reply with an expected answer, which is trusted.

    `tolerance` is the largest absolute difference of two real numbers that still counts as equal.
    """
    given = final_answer(answer)
    if not given:
        return Verdict("wrong", "no final answer")
    is_word = _letters(expected).isalpha() and _letters(given) == _letters(expected)
    if is_word or _bare(given) == _bare(expected):
        return Verdict("right", clip(given))
    try:
        wanted = read_formula(expected)
    except (FormulaError, FormulaLimitError):
        return _check_text(given, expected, judge)
    try:
        read = read_formula(given)
    except FormulaLimitError as error:
        return Verdict("undecided", f"{clip(given)}: {error}")
    except FormulaError as error:
        if "\\" not in given:
            return Verdict("wrong", f"{clip(given)}: {error}")
        return _ask_reader(given, expected, judge, str(error))
    try:
        equal, reason = _Comparison(judge, tolerance).same(read, wanted)
    except (FormulaError, FormulaLimitError) as error:
        return Verdict("undecided", f"{clip(given)} against {clip(expected)}: {error}")
    status = "undecided" if equal is None else "right" if equal else "wrong"
    return Verdict(status, f"{clip(given)} against {clip(expected)}{reason and ': '}{reason}")


def _bare(text: str) -> str:
    """What is left when only spacing and delimiters of formulas are taken away."""
    text = re.sub(r"(?<=[0-9])\s+(?=[0-9])", "_", text.strip())
    text = re.sub(r"\\left|\\right|\\[,;:! ]|\\text\s*\{([^{}]*)\}|[\s$]", r"\1", text)
    return re.sub(r"\\[dt]frac", r"\\frac", text).removesuffix(".")


def _check_text(given: str, expected: str, judge: Judge | None) -> Verdict:
    """The expected answer is a word or in a notation of its own: equal letters and signs, or undecided."""
    if _letters(given) == _letters(expected):
        return Verdict("right", clip(given))
    if re.fullmatch(r"[A-Za-z() ]+", re.sub(r"\\text|[{}$]", "", expected)):
        is_inside = _letters(expected) in _letters(given)
        return Verdict(
            "undecided" if is_inside else "wrong", f"{clip(given)} is not {clip(expected)}"
        )
    return _ask_reader(given, expected, judge, "no notation known here")


def _letters(text: str) -> str:
    return re.sub(r"\\text(?:bf|it|rm)?|\\mathrm|\\[,;:! ]|[\s{}()$.]", "", text).lower()


def _ask_reader(given: str, expected: str, judge: Judge | None, why: str) -> Verdict:
    if judge is None or max(len(given), len(expected)) > 500:
        return Verdict("undecided", f"{clip(given)}: {why}")
    equal, reason = judge.read_same(expected, given)
    return Verdict("right" if equal else "undecided", f"{clip(given)}: {reason if equal else why}")


Finding = tuple[bool | None, str]


class _Comparison:
    """Trees against trees; None wherever nothing is proved."""

    def __init__(self, judge: Judge | None, tolerance: float) -> None:
        self.judge = judge
        self.tolerance = tolerance

    def same(self, given: Node, wanted: Node) -> Finding:
        """Whether `given` states the value `wanted`."""
        given, given_unit = _without_unit(given)
        wanted, wanted_unit = _without_unit(wanted)
        if given_unit == "%" and wanted_unit == "":
            percent = self.same(Node("*", (given, Node("num", number=Fraction(1, 100)))), wanted)
            if percent[0]:
                return percent
        equal, reason = self.stripped(given, wanted)
        if equal and given_unit and wanted_unit and given_unit != wanted_unit:
            both = given_unit.startswith("base") and wanted_unit.startswith("base")
            return (False if both else None), f"units {given_unit!r} and {wanted_unit!r}"
        return equal, reason

    def stripped(self, given: Node, wanted: Node) -> Finding:
        if given.op == "rel" and wanted.op != "rel":
            return self.stated(given, wanted)
        if wanted.op == "rel":
            return self.relations(given, wanted)
        given_many, wanted_many = _values(given), _values(wanted)
        if given_many is not None or wanted_many is not None:
            mine, theirs = given_many or (given,), wanted_many or (wanted,)
            if wanted.op == "tuple" or given.op == "tuple":
                return False, "one is a tuple, the other is not"
            if len(theirs) == 1 and all(self.same(one, theirs[0])[0] for one in mine):
                return True, "said several times"
            return self.matched(mine, theirs)
        if given.op == wanted.op and given.op in ("tuple", "matrix", "union", "set"):
            if given.op in ("union", "set"):
                return self.matched(given.args, wanted.args)
            if given.name != wanted.name or len(given.args) != len(wanted.args):
                return False, "another shape or other brackets"
            return _all(self.same(a, b) for a, b in zip(given.args, wanted.args, strict=True))
        shapes = {"tuple", "matrix", "union", "set", "text"}
        if given.op in shapes or wanted.op in shapes:
            if given.op == wanted.op == "text":
                return given.name.lower() == wanted.name.lower(), ""
            return False, f"a {given.op} where a {wanted.op} is wanted"
        return self.values(given, wanted)

    def stated(self, given: Node, wanted: Node) -> Finding:
        """`x = 3` states 3, `3 + 4 = 7` states 7; `1 < x < 2` states an interval."""
        if wanted.op in ("tuple", "union") and (interval := _interval(given)):
            return self.stripped(interval, wanted)
        if given.name == "in":
            return self.same(given.args[1], wanted)
        if set(given.name.split()) != {"="}:
            return False, "a relation where a value is wanted"
        sides = [side for side in given.args[:-1] if not _has_variable(side)]
        return _all(self.same(side, wanted) for side in (*sides, given.args[-1]))

    def relations(self, given: Node, wanted: Node) -> Finding:
        """Equations up to a constant factor; inequalities turned around; chains side by side."""
        if given.op != "rel":
            if wanted.name == "in" or (wanted.name == "=" and wanted.args[0].op == "sym"):
                return self.same(given, wanted.args[1])
            interval = _interval(wanted)
            return self.stripped(given, interval) if interval else (None, "no relation given")
        if given.name == wanted.name == "=":
            gaps = [_gap(side) for side in (given, wanted)]
            equal = are_proportional(gaps[0], gaps[1])
            return (equal, "") if equal else self.sides(given, wanted, equal)
        intervals = _interval(given), _interval(wanted)
        if intervals[0] and intervals[1]:
            return self.stripped(intervals[0], intervals[1])
        return self.sides(given, wanted, None)

    def sides(self, given: Node, wanted: Node, otherwise: bool | None) -> Finding:
        for names, args in ((given.name, given.args), _turned(given)):
            if (
                names == wanted.name
                and _all(self.same(a, b) for a, b in zip(args, wanted.args, strict=True))[0]
            ):
                return True, ""
        return otherwise, "" if otherwise is False else "relations that may or may not be the same"

    def matched(self, given: Sequence[Node], wanted: Sequence[Node]) -> Finding:
        """The same values in any order, each as often."""
        if len(given) != len(wanted):
            return False, f"{len(given)} values where {len(wanted)} are wanted"
        if len(given) > 64:
            return None, "more than 64 values"
        left, unsure = list(wanted), False
        for mine in given:
            rulings = [self.same(mine, theirs)[0] for theirs in left]
            if True in rulings:
                del left[rulings.index(True)]
            else:
                unsure = unsure or None in rulings
                if not unsure:
                    return False, "another value among them"
        return (None if unsure and left else not left), ""

    def values(self, given: Node, wanted: Node) -> Finding:
        a, b = value_of(given), value_of(wanted)
        equal = are_equal(a, b)
        if not equal and self.tolerance:
            x, y = to_float(a), to_float(b)
            if x is not None and y is not None:
                return abs(x - y) <= self.tolerance, f"{abs(x - y):g} apart"
        if equal is None and self.judge:
            return self.judge.same(given, wanted)
        return equal, "no normal form" if equal is None else ""


def _all(findings: Iterable[Finding]) -> Finding:
    result: Finding = (True, "")
    for equal, reason in findings:
        if equal is False:
            return False, reason
        if equal is None:
            result = (None, reason)
    return result


def _without_unit(node: Node) -> tuple[Node, str]:
    if node.op in ("neg", "*", "+"):
        inner, unit = _without_unit(node.args[-1])
        is_last = unit not in ("", "%", "degree")
        return (Node(node.op, (*node.args[:-1], inner)), unit) if is_last else (node, "")
    if node.op != "unit":
        return node, ""
    inner, other = _without_unit(node.args[0])
    unit = re.sub(r"[^a-z0-9%\u4e00-\u9fff]", "", node.name.lower().replace("square ", "sq"))
    unit = unit.removesuffix("s") if len(unit) > 2 else unit
    return inner, other + _ALIKE.get(unit, unit)


def _values(node: Node) -> tuple[Node, ...] | None:
    """The several values that a list, set or ± stands for; None for one value."""
    if node.op in ("list", "set"):
        found: list[Node] = []
        for child in node.args:
            found += _values(child) or (child,)
        return tuple(found)
    if node.op == "pm":
        a, b = node.args
        return Node("+", (a, b)), Node("+", (a, Node("neg", (b,))))
    if node.op == "rel" and set(node.name.split()) == {"="} and len(node.args) == 2:
        many = _values(node.args[1])
        return many if node.args[0].op == "sym" else None
    if node.op in ("/", "*", "+") and node.args[0].op == "pm":
        both = _values(node.args[0]) or ()
        return tuple(Node(node.op, (one, node.args[1])) for one in both)
    return None


def _has_variable(node: Node) -> bool:
    if node.op == "sym":
        return node.name not in ("pi", "e", "i", "oo")
    return node.op == "text" or any(_has_variable(child) for child in node.args)


def _gap(relation: Node) -> Value:
    left, right = (value_of(side) for side in relation.args)
    return plus(left, times(value_of(Node("num", number=Fraction(-1))), right))


def _turned(relation: Node) -> tuple[str, tuple[Node, ...]]:
    names = [_FLIPPED.get(name, name) for name in reversed(relation.name.split())]
    return " ".join(names), tuple(reversed(relation.args))


def _interval(relation: Node) -> Node | None:
    """The interval that an inequality of one symbol describes."""
    infinity = Node("sym", name="oo")
    names, args = relation.name, relation.args
    if relation.op != "rel" or not set(names.split()) <= {"<", "<=", ">", ">="}:
        return None
    if ">" in names:
        names, args = _turned(relation)
    if ">" in names:
        return None
    signs = names.split()
    if len(args) == 2 and args[0].op == "sym" and not _has_variable(args[1]):
        return Node(
            "tuple",
            (Node("neg", (infinity,)), args[1]),
            name="(" + (")" if signs[0] == "<" else "]"),
        )
    if len(args) == 2 and args[1].op == "sym" and not _has_variable(args[0]):
        return Node("tuple", (args[0], infinity), name=("(" if signs[0] == "<" else "[") + ")")
    if len(args) == 3 and args[1].op == "sym" and not _has_variable(args[0]):
        brackets = ("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]")
        return Node("tuple", (args[0], args[2]), name=brackets)
    return None
