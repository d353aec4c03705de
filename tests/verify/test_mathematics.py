"""verify/mathematics: notations, shapes and adversaries; normal forms against sympy; the judge can be killed."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.verify.formula import FormulaError, FormulaLimitError, Node, read_formula
from ponder.verify.judge import Judge
from ponder.verify.mathematics import check_math
from ponder.verify.normal import are_equal, value_of

RIGHT = """
1/sqrt(2) | \\frac{\\sqrt2}{2}
0.5 | \\frac12
50% | 0.5
50\\% | 50
x = 3 | 3
3 | x=3
3, 4 | 4,3
x = 3 or x = 4 | 4,3
\\{1, 2\\} | 1,2
2 1/2 | 5/2
1\\frac12 | 3/2
1.5e3 | 1500
1.5 \\times 10^{3} | 1500
1,500 | 1500
1{,}500 | 1500
5,\\!525 | 5525
$1,500 | 1500
90° | 90
90^\\circ | 90
-90^\\circ | -90
1\\cdot 90^\\circ | 90^\\circ
3\\pm\\sqrt2 | 3+\\sqrt2, 3-\\sqrt2
\\frac{1\\pm\\sqrt5}{2} | \\frac{1+\\sqrt5}2, \\frac{1-\\sqrt5}2
y = 2x+3 | 2x-y+3=0
x > 3 | (3,\\infty)
(3,\\infty) | x>3
-1 < x \\le 2 | (-1,2]
3 < x | x > 3
\\{x | -2 \\leq x < 1\\} | [-2, 1)
x \\in [1,2] | [1,2]
(2,\\infty)\\cup(-\\infty,1) | (-\\infty,1) \\cup (2,\\infty)
\\left(3, \\dfrac{\\pi}{2}\\right) | (3,\\frac\\pi2)
\\begin{pmatrix}1\\\\2\\end{pmatrix} | \\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}
x^2-1 | (x-1)(x+1)
\\frac{x^2-1}{x+1} | x-1
\\sqrt{12} | 2\\sqrt{3}
\\frac{1}{1+\\sqrt2} | \\sqrt2-1
\\sqrt[3]{-8} | -2
i^2 | -1
\\frac{1+i}{2} | \\frac12+\\frac i2
|-3| | 3
\\lfloor 3.7\\rfloor | 3
\\binom{5}{2} | 10
\\log_2 8 | 3
5! | 120
a_1+b | b+a_1
\\text{Evelyn} | Evelyn
\\text{(A)} | A
2516_8 | 2516_{8}
2516 | 2516_8
12 cm | 12
12\\text{ cm}^2 | 12
3\\pi\\text{ inches} | 3\\pi
18美元 | 18
4*5 = 20 | 20
03 | 3
.5 | 0.5
−3 | -3
3² | 9
The answer is 18 dollars. | 18
#### 1,200 | 1200
**Answer:** 12 | 12
答案：18 | 18
so \\boxed{\\frac{1}{2}}. Done | 1/2
\\boxed{3} or \\boxed{3.0} | 3
First \\boxed{4}?\nNo: \\boxed{3} | 3
\\boxed{\\boxed{3}} | 3
Therefore, x = 3. | 3
\\{\\} | \\emptyset
\\varnothing | \\{\\}
\\{1, 1, 2\\} | \\{1, 2\\}
0.5 | 50\\%
6 percent | 6\\%
45^\\circ | \\frac{\\pi}{4}
\\pi | 180^\\circ
6 million | 6000000
6\\text{ thousand dollars} | \\$6000
1 500 | 1500
0.1\\overline{6} | \\frac16
3:2 | 3/2
\\text{6 apples} | 6
\\text{C, E} | \\text{E} \\text{ and } \\text{C}
\\mathbb{R} | (-\\infty,\\infty)
all real numbers | \\mathbb{R}
x<1 or x>2 | (-\\infty,1)\\cup(2,\\infty)
(2,\\infty)\\cup(-\\infty,1) | x < 1 \\text{ or } 2 < x
[0,1)\\cup[1,2] | [0,2]
y=7, x=6 | (6,7)
(6,7) | x=6\\text{ and }y=7
"""
WRONG = """
4 | 3
(3,4) | (4,3)
3, 4 | 3
3 or 4 | 3
3 | 3, 4
\\boxed{3} or \\boxed{4} | 3
4*5 = 21 | 21
x = 3 = 4 | 4
0.333 | 1/3
\\sqrt2 | \\sqrt3
[1,2) | [1,2]
x \\ge 3 | (3,\\infty)
y=2x | y=2x+1
\\begin{pmatrix}1&2\\end{pmatrix} | \\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}
Karla | \\text{Evelyn}
10_2 | 10_3
3 4 | 34
three | 3
٣ | 3
３ | 3
nan | 3
inf | 3
</think>3 | 3
<answer>3</answer> | 3
<tool_response>3</tool_response> | 3
3; import os | 3
__import__('os') | 3
1_000 | 1000
0x3 | 3
 | 3
What is 17 * 23? | 391
\\boxed{} | 3
\\boxed{3 | 3
\\emptyset | 0
3 | \\emptyset
3 maybe four | 3
3 not four | 3
3 four | 3
\\text{C, E} | \\text{C}
(0,1)\\cup(1,2) | (0,2)
x<1 \\text{ and } x>2 | (-\\infty,1)\\cup(2,\\infty)
x=6, y=8 | (6,7)
45^\\circ | \\frac{\\pi}{3}
"""
UNDECIDED = """
9^{9^{9^9}} | 3
((((10!)!)!)!) | 3
100000! | 3
1e9999999 | 3
1e-9999999 | 0
(x+1)^{400} | 3
(x+y+z)^{300} | 3
1/0 | 3
12 hours | 12 minutes
3\\text{ or 4} | 3
3\\text{ or four} | 3
3\\text{; maybe }4 | 3
3 million | 3
16_7 | 16
3\\ 4 | 34
11_2 | 3
y=6, x=7 | (6,7)
1\\cdot\\begin{pmatrix}1\\\\2\\end{pmatrix} | \\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}
"""


def lines(table: str) -> list[tuple[str, str]]:
    rows = table.strip("\n").replace("\\n", "\n").split("\n")
    merged: list[str] = []
    for row in rows:
        if " | " in row:
            merged.append(row)
    return [tuple(row.rsplit(" | ", 1)) for row in merged]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("answer", "expected", "status"),
    [
        (answer, expected, status)
        for table, status in ((RIGHT, "right"), (WRONG, "wrong"), (UNDECIDED, "undecided"))
        for answer, expected in lines(table)
    ],
)
def test_table(answer: str, expected: str, status: str) -> None:
    verdict = check_math(answer, expected)
    assert verdict.status == status, verdict
    assert verdict.reason and "\n" not in verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "(" * 300 + "3" + ")" * 300,
        "\\frac" * 300 + "1",
        "\\sqrt" * 300 + "3",
        "{" * 900 + "3" + "}" * 900,
        "-" * 1900 + "3",
        "|" * 1999,
        "\\sqrt{" * 30 + "2" + "}" * 30,
        "x^" * 60 + "x",
        "+".join(["\\sqrt2"] * 200),
        "1+" * 999 + "1",
        "1/" * 999 + "1",
        "x " * 999,
        "3" + "!" * 1900,
        "3" + "%" * 1900,
        "(\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7)^{40}",
        "*".join(["(x+y+1)"] * 100),
        "9" * 399 + "!",
        "\\log_{1.0001} 5",
        "\\boxed{" * 50_000,
        "\\boxed{3}" * 40_000,
        "answer is " * 40_000,
        " " * 300_000 + "3",
        "3 cm " * 300,
        "1," * 900 + "1",
        "\\text{" * 300,
        "\\begin{pmatrix}" * 100,
        "\\begin{matrix}1&2\\\\3",
        "a" * 400_001,
    ],
)
def test_hostile_texts_end_at_once_and_are_never_right(text: str) -> None:
    start = time.perf_counter()
    assert check_math(text, "3").status in ("wrong", "undecided") or text.strip() in (
        "3",
        "\\boxed{3}" * 40_000,
    )
    assert time.perf_counter() - start < 2


def test_signs_between_two_values_are_never_asked_of_the_reader_that_takes_one_of_them() -> None:
    fresh = Judge()
    for sign in ("\\approx", "\\to", "\\cap", "\\Rightarrow", "\\mid"):
        assert check_math(f"\\boxed{{3 {sign} 4}}", "3", judge=fresh).status == "undecided"
    assert fresh._process is None


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="0123456789abxi+-*/^(){}[]|,.=<>\\ _!%$sqrtfacpi", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(FormulaError, FormulaLimitError):
        assert isinstance(read_formula(text), Node)
    assert check_math(text, "\\frac{1}{2}").reason


def formula(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return rng.choice(["2", "3", "12", "x", "y", "\\pi", "i", "\\sqrt{8}", "\\frac{3}{4}"])
    a, b = formula(rng, depth - 1), formula(rng, rng.randrange(depth))
    return rng.choice(
        [
            f"({a}+{b})",
            f"({a}-{b})",
            f"({a})({b})",
            f"({a})*({b})",
            f"\\frac{{{a}}}{{5}}",
            f"({a})^2",
        ]
    )


def test_normal_forms_agree_with_sympy_on_random_formulas() -> None:
    sympy = pytest.importorskip("sympy")
    from ponder.verify.judge import _tree
    from ponder.verify.symbolic import _expression

    rng = random.Random(5)
    seen = {True: 0, False: 0}
    for _ in range(40):
        trees = [read_formula(formula(rng, 2)) for _ in range(2)]
        if rng.random() < 0.5:
            trees[1] = Node(
                "+",
                (Node("*", (trees[0], Node("num", number=Fraction(2)))), Node("neg", (trees[0],))),
            )
        values = [value_of(tree) for tree in trees]
        equal = are_equal(values[0], values[1])
        a, b = (_expression(sympy, _tree(tree)) for tree in trees)
        assert equal is (sympy.expand(a - b) == 0)
        seen[equal] += 1
    assert min(seen.values()) > 5, seen


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    pytest.importorskip("sympy")
    worker = Judge(reply_s=0.8)
    yield worker
    worker.close()


JUDGED = [
    ("\\sin 30^\\circ", "1/2", "right"),
    ("\\sqrt{3+2\\sqrt2}", "1+\\sqrt2", "right"),
    ("\\sqrt[3]{16}", "2\\sqrt[3]{2}", "right"),
    ("\\ln 8", "3\\ln 2", "right"),
    ("2^{x+1}", "2\\cdot 2^x", "right"),
    ("\\cos^2 x+\\sin^2 x", "1", "right"),
    ("\\sqrt{x^2}", "x", "wrong"),
    ("\\ln 9", "3\\ln 2", "wrong"),
    ("2^{3^{x}}+1", "2^{3^{x}}", "wrong"),
    ("x^{x^{x^{x^{x^{x}}}}}", "3", "undecided"),
]


def test_the_judge_decides_what_normal_forms_cannot(judge: Judge) -> None:
    for answer, expected, status in JUDGED:
        assert check_math(answer, expected).status == "undecided", answer
        verdict = check_math(answer, expected, judge=judge)
        assert verdict.status == status, (answer, verdict)


def test_a_slow_comparison_is_killed_from_any_thread_and_the_next_one_is_answered(
    judge: Judge,
) -> None:
    tower = read_formula("2^x")
    for _ in range(3):
        tower = Node("fn", (Node("^", (Node("num", number=Fraction(9)), tower)),), name="factorial")
    found: list[tuple[bool | None, str]] = []
    before = judge.num_killed
    thread = threading.Thread(target=lambda: found.append(judge.same(tower, read_formula("3"))))
    thread.start()
    thread.join(60)
    assert found and found[0][0] is None, found
    assert judge.num_killed <= before + 1
    assert judge.same(read_formula("\\sin(0)"), read_formula("0")) == (
        True,
        "sympy: the same expression",
    )
    assert judge.same(read_formula("\\sin x"), Node("sym", name="x" * 70_000)) == (
        None,
        "too large to compare",
    )
