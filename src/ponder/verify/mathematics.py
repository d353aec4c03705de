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
    "feet": "ft", "foot": "ft", "inches": "in", "inche": "in", "centimeter": "cm", "meter": "m", "hour": "hr",
    "percent": "%",
}  # fmt: skip
_SCALES: dict[str, Fraction] = {
    "%": Fraction(1, 100), "hundred": Fraction(100), "thousand": Fraction(1000), "million": Fraction(10**6),
    "billion": Fraction(10**9), "trillion": Fraction(10**12), "dozen": Fraction(12),
}  # fmt: skip
"""What a word or sign after a number multiplies it by; a degree is π/180."""
_COUNTS = tuple(name for name in _SCALES if name != "%")
_SHAPES = {"tuple", "matrix", "union", "set", "text", "list", "rel", "pm"}
_NO_VALUE = re.compile(
    r"\\(?:approx|simeq|sim|cong|equiv|to|mapsto|\w*arrow|cap|mid|implies|iff|lor|land)(?![A-Za-z])"
)
"""Signs between two values, of which Math-Verify would take one."""


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
        read = read_formula(re.sub(r"(?<=[0-9]) *: *(?=[0-9])", "/", given))
    except (FormulaLimitError, RecursionError) as error:
        return Verdict("undecided", f"{clip(given)}: {error}")
    except FormulaError as error:
        if "\\" not in given:
            return Verdict("wrong", f"{clip(given)}: {error}")
        return _ask_reader(given, expected, judge, str(error))
    try:
        equal, reason = _Comparison(judge, tolerance).same(read, wanted)
    except (FormulaError, FormulaLimitError) as error:
        return Verdict("undecided", f"{clip(given)} against {clip(expected)}: {error}")
    except RecursionError:
        return Verdict("undecided", f"{clip(given)}: too many operations inside each other")
    status = "undecided" if equal is None else "right" if equal else "wrong"
    return Verdict(status, f"{clip(given)} against {clip(expected)}{reason and ': '}{reason}")


def _bare(text: str) -> str:
    """What is left when only spacing and delimiters of formulas are taken away."""
    text = re.sub(r"(?<=[0-9])(?:\s|\\[;: ])+(?=[0-9])", "_", text.strip())
    text = re.sub(r"\\left|\\right|\\[,;:! ]|\\text\s*\{([^{}]*)\}|[\s$]", r"\1", text)
    return re.sub(r"\\[dt]frac", r"\\frac", text).removesuffix(".")


def _check_text(given: str, expected: str, judge: Judge | None) -> Verdict:
    """The expected answer is a word or in a notation of its own: equal letters and signs, or undecided."""
    if _letters(given) == _letters(expected):
        return Verdict("right", clip(given))
    if re.fullmatch(r"[A-Za-z() ]+", re.sub(r"\\text|[{}$]", "", expected)):
        status = "undecided" if _letters(expected) in _letters(given) else "wrong"
        return Verdict(status, f"{clip(given)} is not {clip(expected)}")
    return _ask_reader(given, expected, judge, "no notation known here")


def _letters(text: str) -> str:
    return re.sub(r"\\text(?:bf|it|rm)?|\\mathrm|\\[,;:! ]|[\s{}()$.]", "", text).lower()


def _ask_reader(given: str, expected: str, judge: Judge | None, why: str) -> Verdict:
    apart = _NO_VALUE.search(re.sub(r"\\lim *_ *\{[^{}]*\}", "", given))
    if judge is None or apart or max(len(given), len(expected)) > 500:
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
        if given_unit == wanted_unit:
            return self.stripped(given, wanted)
        factors = _factor(given_unit), _factor(wanted_unit)
        if factors[0] != factors[1] and not _SHAPES & {given.op, wanted.op}:
            scaled = [Node("*", pair) for pair in zip((given, wanted), factors, strict=True)]
            if self.values(scaled[0], scaled[1])[0]:
                return True, ""
        equal, reason = self.stripped(given, wanted)
        told = f"units {given_unit!r} and {wanted_unit!r}"
        if given_unit.startswith("base"):
            return (False, told) if wanted_unit and equal else (None, told)
        counts = {unit for unit in (given_unit, wanted_unit) if unit.startswith(_COUNTS)}
        doubtful = equal and (counts or (given_unit and wanted_unit))
        return (None, told) if doubtful else (equal, reason)

    def stripped(self, given: Node, wanted: Node) -> Finding:
        if {"union", "tuple"} & {given.op, wanted.op}:
            given, wanted = _as_union(given), _as_union(wanted)
            if points := _point(given) or _point(wanted):
                given, wanted = (points, wanted) if wanted.op == "tuple" else (given, points)
                equal = _all(self.same(a, b) for a, b in zip(given.args, wanted.args, strict=False))
                if len(given.args) == len(wanted.args) and equal[0]:
                    return equal
                found = self.matched(given.args, wanted.args)[0]
                return (None if found else found), "values of names whose order is not told"
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
            inner = any(part.op in shapes for side in (given, wanted) for part in side.args)
            if inner and {given.op, wanted.op} & {"*", "+", "/", "neg"}:
                return None, "arithmetic with matrices or tuples"
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
            pairs = zip(args, wanted.args, strict=False)
            if names == wanted.name and _all(self.same(a, b) for a, b in pairs)[0]:
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
        is_last = unit not in (("", "%", "degree") if node.op == "+" else ("",))
        return (Node(node.op, (*node.args[:-1], inner)), unit) if is_last else (node, "")
    if node.op != "unit":
        return node, ""
    inner, other = _without_unit(node.args[0])
    unit = re.sub(r"[^a-z0-9%\u4e00-\u9fff]", "", node.name.lower().replace("square ", "sq"))
    unit = unit.removesuffix("s") if len(unit) > 2 else unit
    return inner, other + _ALIKE.get(unit, unit)


def _factor(unit: str) -> Node:
    """What a unit stands for where it is a number: a hundredth for `%`."""
    number = next((scale for name, scale in _SCALES.items() if unit.startswith(name)), Fraction(1))
    if unit == "degree":
        return Node("*", (Node("sym", name="pi"), Node("num", number=Fraction(1, 180))))
    return Node("num", number=number)


def _as_union(node: Node) -> Node:
    """Intervals joined by `or` or `∪` as one union whose parts do not touch; anything else as it is."""
    parts = [_interval(part) or part for part in (node.args if node.name == "or" else (node,))]
    parts = [each for part in parts for each in (part.args if part.op == "union" else (part,))]
    ends: list[tuple[float, float, Node]] = []
    for part in parts:
        sides = [_end(side) for side in part.args] if part.op == "tuple" else []
        if len(sides) != 2 or sides[0] is None or sides[1] is None:
            return node
        ends.append((sides[0], sides[1], part))
    ends.sort(key=lambda end: (end[0], end[2].name[0] != "["))
    merged = ends[:1]
    for low, high, part in ends[1:]:
        before, top, last = merged[-1]
        if low > top or (low == top and part.name[0] == "(" and last.name[1] == ")"):
            merged.append((low, high, part))
        elif (high, part.name[1] == "]") > (top, last.name[1] == "]"):
            joined = Node("tuple", (last.args[0], part.args[1]), name=last.name[0] + part.name[1])
            merged[-1] = (before, high, joined)
    return merged[0][2] if len(merged) == 1 else Node("union", tuple(part for _, _, part in merged))


def _end(side: Node) -> float | None:
    """An end of an interval as a number; None where it is no real constant."""
    sign, side = (-1, side.args[0]) if side.op == "neg" else (1, side)
    if side == Node("sym", name="oo"):
        return sign * float("inf")
    try:
        value = to_float(value_of(side))
    except FormulaError:
        return None
    return None if value is None else sign * value


def _point(node: Node) -> Node | None:
    """`x = 6, y = 7` as (6, 7), by the names' order in the alphabet."""
    named = {
        part.args[0].name: part.args[1] for part in node.args
        if part.op == "rel" and part.name == "=" and part.args[0].op == "sym"
    }  # fmt: skip
    if node.op != "list" or len(named) != len(node.args):
        return None
    return Node("tuple", tuple(named[name] for name in sorted(named)), name="()")


def _values(node: Node) -> tuple[Node, ...] | None:
    """The several values that a list, set or ± stands for; None for one value and for the empty set."""
    if node.op == "set" and not node.args:
        return None
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
    if len(args) == 2 and _has_variable(args[0]):
        args, signs = (Node("neg", (infinity,)), *args), ["<", *signs]
    elif len(args) == 2:
        args, signs = (*args, infinity), [*signs, "<"]
    if len(args) != 3 or args[1].op != "sym" or _has_variable(args[0]) or _has_variable(args[2]):
        return None
    return Node("tuple", (args[0], args[2]), name="(["[signs[0] == "<="] + ")]"[signs[1] == "<="])
