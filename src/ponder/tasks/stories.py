"""tasks/stories: word problems: one to three operations from templates (S), longer chains of sentences (R, O)."""

from __future__ import annotations

import random
from fractions import Fraction

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.columns import apply, operation_lines
from ponder.tasks.family import Trace, TraceWriter, pattern_of
from ponder.tasks.story_chains import Step, draw_chain, read_chain
from ponder.tasks.story_templates import TEMPLATES, Story
from ponder.tasks.words import GROUPS, NAMES, PLURALS, THINGS, WARES
from ponder.verify.numbers import check_number

NUMBERS = "abcde"


def draw(rng: random.Random, story: Story) -> dict[str, int]:
    """Numbers for a template whose every step stays a whole number that makes sense."""
    while True:
        values = {key: rng.randint(2, 20 if rng.random() < 0.7 else 40) for key in story.keys}
        for key in story.small:
            values[key] = rng.randint(2, 9)
        for product, (one, other) in story.multiples.items():
            values[product] = values[one] * values[other]
        if run(story, values) is not None:
            return values


def run(story: Story, values: dict[str, int]) -> list[tuple[int, str, int, int]] | None:
    """The steps (a, op, b, result) of a story; None when one is negative, zero, broken or over 2,000."""
    steps: list[tuple[int, str, int, int]] = []
    for step in story.steps:
        left, op, right = step
        a = values[left] if left in values else steps[int(left)][3]
        b = values[right] if right in values else (steps[int(right)][3])
        if (op == "/" and (b == 0 or a % b)) or (op == "-" and a <= b):
            return None
        result = apply(a, op, b)
        if not 0 < result <= 2000:
            return None
        steps.append((a, op, b, result))
    return steps


class Stories:
    """Short word problems."""

    name = "stories"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """S: templates of 1–3 operations; R: chains of 4–5 with asides and number words; O: other worlds, 5–6."""
        if band != "S":
            question, steps, form = draw_chain(rng, band)
            return self._chain(question, steps, form, band)
        index = rng.randrange(len(TEMPLATES))
        story = TEMPLATES[index]
        values = draw(rng, story)
        names = rng.sample(NAMES, 2)
        ware = rng.choice(WARES)
        words = {
            "A": names[0], "B": names[1], "things": rng.choice(THINGS), "ware": ware, "wares": PLURALS[ware],
            "groups": (group := rng.choice(GROUPS)), "group": GROUP_ONE[group],
        }  # fmt: skip
        text = rng.choice(story.texts).format(
            **words, **{key: str(value) for key, value in values.items()}
        )
        return self._problem(text, index, values)

    def _chain(self, question: str, steps: list[Step], form: str, band: Band) -> Problem:
        numbers = " ".join(f"{op}{b}" for _, op, b, _ in steps)
        canonical = f"{form} {steps[0][0]} {numbers}"
        answer = str(steps[-1][3])
        return Problem(
            self.name, band, question, answer, canonical, len(steps), {"steps": steps}, form
        )

    def _problem(self, text: str, index: int, values: dict[str, int]) -> Problem:
        steps = run(TEMPLATES[index], values)
        assert steps is not None, "callers pass numbers that the story allows"
        canonical = f"{index} " + " ".join(
            f"{key}={value}" for key, value in sorted(values.items())
        )
        data = {"template": index, "steps": steps}
        return Problem(self.name, "S", text, str(steps[-1][3]), canonical, len(steps), data)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        a, op, b, result = problem.data["steps"][-1]
        return check_number(answer, Fraction(result), f"{a} {op} {b}", problem.question)

    def recognise(self, question: str) -> Problem | None:
        """Matches the question against every template, then reads it as a chain of sentences."""
        text = " ".join(question.split())
        for index, pattern in PATTERNS:
            match = pattern.fullmatch(text)
            if match:
                values = {
                    key: int(value) for key, value in match.groupdict().items() if key in NUMBERS
                }
                for product, (one, other) in TEMPLATES[index].multiples.items():
                    values[other] = values[product] // max(values[one], 1)
                if run(TEMPLATES[index], values) is not None:
                    return self._problem(question, index, values)
        read = read_chain(question) if len(text) < 1500 else None
        return self._chain(question, *read, "S") if read else None

    def _plain(self, problem: Problem, rng: random.Random) -> Trace:
        story = TEMPLATES[int(problem.data["template"])]
        lines: list[str] = []
        for reason, (a, op, b, _) in zip(story.reasons, problem.data["steps"], strict=True):
            work = operation_lines(a, op, b)
            lines.append(f"{reason}: {work[0] if len(work) == 1 else f'{a}{op}{b}'}")
            lines += work if len(work) > 1 else []
        return Trace("\n".join(lines), problem.answer)

    def _bare(self, problem: Problem, rng: random.Random) -> Trace:
        lines: list[str] = []
        for a, op, b, _ in problem.data["steps"]:
            lines += operation_lines(a, op, b)
        return Trace("\n".join(lines), problem.answer)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (TraceWriter("plain", 0.9, self._plain), TraceWriter("bare", 0.1, self._bare))


GROUP_ONE = {
    "boxes": "box", "bags": "bag", "baskets": "basket", "shelves": "shelf", "rows": "row", "trays": "tray",
    "packs": "pack", "jars": "jar", "drawers": "drawer", "bowls": "bowl",
}  # fmt: skip


_WORDS = dict.fromkeys(("A", "B", "things", "ware", "wares", "group", "groups"), "[A-Za-z]+")
_HOLES = _WORDS | dict.fromkeys(NUMBERS, r"\d{1,7}")
PATTERNS = tuple(
    (index, pattern_of(text, _HOLES))
    for index, story in enumerate(TEMPLATES)
    for text in story.texts
)
