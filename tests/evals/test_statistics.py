"""evals/statistics against enumeration: every subset, every vote, every split."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from math import gamma, isclose, pi, sqrt

import pytest

from ponder.evals.interval import student
from ponder.evals.statistics import holm, majority, mcnemar, paired, pass_at, sampled_of


def test_pass_at_k_is_the_share_of_subsets_with_a_right_one():
    for n in range(1, 8):
        for right in range(n + 1):
            samples = [True] * right + [False] * (n - right)
            for k in range(1, n + 1):
                subsets = list(combinations(samples, k))
                truth = sum(any(subset) for subset in subsets) / len(subsets)
                assert isclose(pass_at(k, right, n), truth)


def test_majority_is_the_chance_that_a_lot_among_the_tied_is_right():
    for answers in product("abc", repeat=4):
        counts = Counter(answers)
        top = [a for a in counts if counts[a] == max(counts.values())]
        truth = ("a" in top) / len(top)
        assert isclose(majority(answers, [a == "a" for a in answers]), truth)


@pytest.mark.parametrize(
    ("answers", "rights", "chance"),
    [
        (["12", " 12. ", "13"], [True, True, False], 1.0),
        (["Yes", "yes", "no", "no"], [True, True, False, False], 0.5),
        (["", "", "", "7"], [False, False, False, True], 1.0),
        (["", ""], [False, False], 0.0),
        ([], [], 0.0),
        (["1", "2", "2"], [True, False, False], 0.0),
    ],
)
def test_majority_of_texts(answers, rights, chance):
    assert majority(answers, rights) == chance


def test_mcnemar_is_the_chance_of_a_split_at_least_as_uneven():
    for a in range(7):
        for b in range(7):
            flips = list(product((0, 1), repeat=a + b))
            far = [f for f in flips if abs(2 * sum(f) - (a + b)) >= abs(a - b)]
            assert isclose(mcnemar(a, b), len(far) / len(flips))


def test_holm_rejects_what_stepping_down_rejects():
    for ps in product((0.001, 0.012, 0.02, 0.3), repeat=4):
        for level in (0.01, 0.04, 0.05, 0.5):
            rejected: list[int] = []
            for place in sorted(range(4), key=lambda place: ps[place]):
                if ps[place] > level / (4 - len(rejected)):
                    break
                rejected.append(place)
            found = [place for place, p in enumerate(holm(ps)) if p <= level]
            # of equal p all are rejected or none
            assert {ps[place] for place in found} == {ps[place] for place in rejected}, (ps, level)
    assert holm([]) == []


def test_students_interval_holds_95_percent_of_its_density():
    def share(t: float, nu: int, steps: int = 20_000) -> float:
        scale = gamma((nu + 1) / 2) / (sqrt(nu * pi) * gamma(nu / 2))
        at = [(step + 0.5) * t / steps for step in range(steps)]
        return 2 * t / steps * scale * sum((1 + x * x / nu) ** (-(nu + 1) / 2) for x in at)

    for count in range(2, 12):
        values = [float(value) for value in range(count)]
        interval = student(values)
        assert interval is not None
        spread = sqrt(count * (count + 1) / 12)  # of 0, 1, … by the closed form
        half = (interval[1] - interval[0]) / 2 / (spread / sqrt(count))
        assert isclose(sum(interval) / 2, (count - 1) / 2)
        assert isclose(share(half, count - 1), 0.95, abs_tol=1e-4)
    assert student([1.0]) is None


def test_undecided_answers_are_left_out():
    sampled = sampled_of(2, 1.0, [(["1", "2"], [True, False]), (["3"], [True]), ([], [])], 60)
    assert sampled.mean == 0.75 and sampled.tokens == 10
    assert sampled.pass_at == {"1": 0.75, "2": 1.0}  # the second holds one problem only
    assert sampled.majority == 0.75
    pair = paired("f", "S", ("1?01", "01?0"), (sampled, sampled))
    assert (pair.only_first, pair.only_second, pair.gain) == (2, 0, 0.0)
