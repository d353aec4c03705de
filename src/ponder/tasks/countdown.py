"""tasks/countdown: make a target from three to five numbers, each used exactly once."""

from __future__ import annotations

import random
import re

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import apply
from ponder.tasks.family import Trace, TraceWriter, pattern_of
from ponder.verify.countdown import check_countdown

FRAMES = (
    "Use {n} to make {t}. Use each number exactly once, with + - * /.",
    "Make {t} from {n}. Use each number exactly once, with + - * /.",
    "Using {n}, make {t}. Use each number exactly once.",
    "Countdown: numbers {n}, target {t}. Use each number exactly once.",
    "How can you make {t} with {n}? Use each number exactly once.",
    "Find an expression equal to {t} that uses {n}, each number exactly once.",
    "Reach {t} with {n}. Each number must be used exactly once, with + - * /.",
    "Combine {n} to get {t}. Use each number exactly once.",
    "Use the numbers {n} to make {t}. Use each number exactly once.",
    "With {n}, make {t}. Use each number exactly once.",
)
_HOLES = {"n": r"\d[\d, ]*(?:,? and )?\d+(?!\d)", "t": r"\d+(?!\d)"}
PATTERNS = tuple(
    pattern_of(frame.split(". ")[0].rstrip("."), _HOLES, re.IGNORECASE) for frame in FRAMES
)


def pair_values(a: int, b: int) -> list[tuple[str, int]]:
    """What two numbers make, larger first: [("7+3", 10), ("7-3", 4), ("7*3", 21)], `/` where exact."""
    a, b = max(a, b), min(a, b)
    values = [(f"{a}+{b}", a + b), (f"{a}-{b}", a - b), (f"{a}*{b}", a * b)]
    if b > 1 and a % b == 0:
        values.append((f"{a}/{b}", a // b))
    return values


def wanted(target: int, aside: int) -> list[tuple[str, int | None, str]]:
    """What the other two must make: (text, value or None, the answer's form with {e} for their expression)."""
    if target >= aside:
        rows: list[tuple[str, int | None, str]] = [
            (f"{target}-{aside}", target - aside, "({e}) + {c}")
        ]
    else:
        rows = [(f"{aside}-{target}", aside - target, "{c} - ({e})")]
    rows.append((f"{target}+{aside}", target + aside, "({e}) - {c}"))
    if aside > 1:
        exact = target // aside if target % aside == 0 else None
        rows.append((f"{target}/{aside}", exact, "({e}) * {c}"))
        if target * aside <= 99:
            rows.append((f"{target}*{aside}", target * aside, "({e}) / {c}"))
    return rows


def search(numbers: tuple[int, ...], target: int) -> tuple[list[str], str | None]:
    """Sets each number aside in turn, lists what the others make, and works back from the target."""
    lines: list[str] = []
    for index, aside in enumerate(numbers):
        others = [number for at, number in enumerate(numbers) if at != index]
        values = pair_values(others[0], others[1])
        line = f"{aside}: " + " ".join(f"{text}={value}" for text, value in values)
        lines.append(line)
        tries: list[str] = []
        for text, value, form in wanted(target, aside):
            if value is None:
                tries.append(f"{text} no")
                continue
            match = next((pair for pair, made in values if made == value), None)
            tries.append(f"{text}={value} {'yes' if match else 'no'}")
            if match:
                lines.append(" ".join(tries))
                spaced = re.sub(r"([-+*/])", r" \1 ", match)
                return lines, form.format(e=spaced, c=aside)
        lines.append(" ".join(tries))
    return lines, None


def solve_forward(numbers: tuple[int, ...], target: int) -> tuple[list[str], str | None]:
    """Depth first over pairs: each pair's value, then what it makes with the number left."""
    lines: list[str] = []
    for index, left in enumerate(numbers):
        a, b = (number for at, number in enumerate(numbers) if at != index)
        for text, value in pair_values(a, b):
            line = f"{text}={value} left {left}:"
            for pair, made in pair_values(value, left):
                line += f" {pair}={made}"
                if made == target:
                    inner = re.sub(r"([-+*/])", r" \1 ", text)
                    op = pair[len(str(max(value, left)))]
                    answer = f"({inner}) {op} {left}" if value >= left else f"{left} {op} ({inner})"
                    return [*lines, line + " yes"], answer
            lines.append(line + " no")
    return lines, None


def join(numbers: tuple[int, ...], mark: str) -> str:
    """`3, 7 and 12` or `3, 7, 12`."""
    texts = [str(number) for number in numbers]
    return ", ".join(texts[:-1]) + mark + texts[-1]


class Countdown:
    """Expressions that reach a target."""

    name = "countdown"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: three numbers up to 12; R: three up to 25 or four up to 12; O: five up to 25. R and O split by target."""
        while True:
            if band == "S":
                numbers = tuple(rng.randint(1, 12) for _ in range(3))
                values = pair_values(numbers[0], numbers[1])
                value = rng.choice(values)[1]
                target = rng.choice(pair_values(value, numbers[2]))[1]
                numbers = tuple(rng.sample(numbers, 3))
                if not 1 <= target <= 99 or target in numbers:
                    continue
                answer = search(numbers, target)[1]
                if answer is None:
                    continue
            else:
                wide = band == "O" or rng.random() < 0.45
                count = 5 if band == "O" else 3 if wide else 4
                numbers = tuple(rng.randint(1, 25 if wide else 12) for _ in range(count))
                answer, target = self._random_answer(rng, numbers)
                if not 10 <= target <= (999 if band == "O" else 199 if wide else 99):
                    continue
                if target in numbers or (count == 3 and max(numbers) <= 12 and target <= 99):
                    continue
            listed = join(numbers, rng.choice((" and ", " and ", ", ")))
            question = rng.choice(FRAMES).format(n=listed, t=target)
            return self._problem(question, numbers, target, answer, band)

    def _random_answer(self, rng: random.Random, numbers: tuple[int, ...]) -> tuple[str, int]:
        """An expression that uses every number once, and its value."""
        items = [(str(number), number) for number in numbers]
        while len(items) > 1:
            (left, a), (right, b) = (items.pop(rng.randrange(len(items))) for _ in range(2))
            if a < b:
                left, a, right, b = right, b, left, a
            pair, value = rng.choice(pair_values(a, b))
            joined = f"{left} {pair[len(str(a))]} {right}"
            items.append((f"({joined})" if items else joined, value))
        return items[0]

    def _problem(
        self, question: str, numbers: tuple[int, ...], target: int, answer: str, band: Band
    ) -> Problem:
        canonical = f"{' '.join(str(n) for n in sorted(numbers))} -> {target}"
        data = {"numbers": numbers, "target": target}
        structure = "" if band == "S" else f"target {target}"
        return Problem(self.name, band, question, answer, canonical, len(numbers), data, structure)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return check_countdown(answer, problem.data["numbers"], problem.data["target"])

    def recognise(self, question: str) -> Problem | None:
        """Reads a question in one of the frames; the rule's sentence may be missing."""
        for pattern in PATTERNS:
            if match := pattern.match(question.strip()):
                numbers = tuple(int(text) for text in re.findall(r"\d{1,9}", match["n"]))
                target = int(match["t"][:12])
                if 2 <= len(numbers) <= 6:
                    return self._problem(question, numbers, target, "", "S")
        return None

    def _backward(self, problem: Problem, rng: random.Random) -> Trace:
        numbers, target = problem.data["numbers"], problem.data["target"]
        lines, answer = search(numbers, target)
        assert answer is not None, "band S is generated with this search"
        return Trace("\n".join([*lines, *self._check(answer, rng)]), answer)

    def _forward(self, problem: Problem, rng: random.Random) -> Trace:
        numbers, target = problem.data["numbers"], problem.data["target"]
        lines, answer = solve_forward(numbers, target)
        if answer is None or len(lines) > 8:
            return self._backward(problem, rng)
        return Trace("\n".join([*lines, *self._check(answer, rng)]), answer)

    def _check(self, answer: str, rng: random.Random) -> list[str]:
        compact = answer.replace(" ", "")
        if rng.random() < 0.5:
            return [compact]
        inner = re.search(r"\((\d+)([-+*/])(\d+)\)", compact)
        assert inner is not None, "an answer of three numbers holds one parenthesis"
        value = apply(int(inner[1]), inner[2], int(inner[3]))
        short = compact.replace(inner[0], str(value))
        parts = re.fullmatch(r"(\d+)([-+*/])(\d+)", short)
        assert parts is not None, "one pair is left once the parenthesis is worked out"
        return [f"{compact}={short}={apply(int(parts[1]), parts[2], int(parts[3]))}"]

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (
            TraceWriter("backward", 0.88, self._backward),
            TraceWriter("forward", 0.12, self._forward),
        )
