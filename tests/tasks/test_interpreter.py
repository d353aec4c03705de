"""tasks/interpreter: values against Python's own, and every limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.core.errors import ToolError
from ponder.tasks.interpreter import MAX_STEPS, Machine

WHOLE = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", ">="]), inner).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        st.tuples(inner, st.sampled_from(["+", "-"]), inner, st.just("*"), inner).map("".join),
        inner.map(lambda text: f"(-{text})"),
        st.lists(inner, min_size=1, max_size=4).map(lambda p: f"max([{', '.join(p)}])"),
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(WHOLE)
def test_values_are_pythons(text: str) -> None:
    try:
        want = str(int(eval(text)))
    except ZeroDivisionError:
        want = "division by zero"
    try:
        got = Machine().run(f"show {text}")
    except ToolError as error:
        got = str(error)
    assert got == want


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("s = 0; for x in [3, 1, 4] { if x > 2 { s = s + x * x } }; show s", "25"),
        ("a = [1, 2]\nb = a + [3]\nshow b\nshow b[2] - len(a)", "[1, 2, 3]\n1"),
        ("x = 1; repeat 10 { x = x * 2 }; show x", "1024"),
        ("for i in range(1, 4) { show i }", "1\n2\n3"),
        ("if 1 == 2 { show 1 } else { show sort(reverse([2, 3, 1])) }", "[1, 2, 3]"),
        ("x = [5]; for i in x { x = x + [i] }; show x", "[5, 5]"),
        ("repeat -3 { show 1 }", ""),
        ("show 6 / 3 - -2 * min([4, 2])", "6"),
        ("", ""),
    ],
)
def test_programs(program: str, shown: str) -> None:
    assert Machine().run(program) == shown


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("repeat 99999999999 { }", f"stopped after {MAX_STEPS} steps"),
        ("repeat 9999999 { repeat 9999999 { x = 1 } }", "stopped after"),
        ("x = 9; repeat 200 { x = x * x }; show x", "more than 40 digits"),
        ("x = [1]; repeat 99 { x = x + x }", "longer than 1000"),
        ("x = range(0, 900); repeat 99 { y = sort(x) }", "stopped after"),
        ("show range(0, 99999999999999)", "longer than 1000"),
        ("show " + "(" * 900, "nested deeper"),
        ("show " + "-" * 900 + "1", "nested deeper"),
        ("if 1 {" * 200, "nested deeper"),
        ("show 1 +" * 900, "longer than 2000 characters"),
        ("repeat 999 { show 1234567890 }", "1000 characters shown"),
        ("show 1 / 0", "division by zero"),
        ("show 7 / 2", "7 / 2 is not whole: use //"),
        ("show [1][1]", "no item 1 in a list of 1"),
        ("show max([])", "max of an empty list"),
        ("show [[1]]", "found a list"),
        ("show y", "y has no value"),
        ("show len([1], [2])", "len wants 1 values, not 2"),
        ("for = 3", "cannot be a name"),
        ("import os", "wanted '=', found 'os'"),
        ("show __import__", "cannot be a name"),
        ("show x.__class__", "cannot read '.__class'"),
        ("show 'a'", "cannot read"),
        ("show ٣", "cannot read '٣'"),
        ("show " + "9" * 41, "more than 40 digits"),
        ("show 1 2", "unexpected '2'"),
        ("}", "unexpected '}'"),
        ("print 3", "wanted '=', found '3'"),
    ],
)
def test_refusals(program: str, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        Machine().run(program)
    assert message in str(caught.value) and len(str(caught.value)) < 120


def test_variables_last_and_a_failure_keeps_what_was_set() -> None:
    machine = Machine()
    assert machine.run("x = 4") == ""
    with pytest.raises(ToolError):
        machine.run("x = 5; show 1 / 0")
    assert machine.run("show x") == "5"
    with pytest.raises(ToolError):
        Machine().run("show x")
