"""tasks/decline: questions outside the families, answered by saying so."""

from __future__ import annotations

import random
import re

from ponder.core.types import Band, Problem, Verdict
from ponder.tasks.decline_templates import TEMPLATES, WORDS
from ponder.tasks.family import Trace, TraceWriter
from ponder.verify.sequence import check_sentence

SENTENCE = "I was not trained for this."
THOUGHT = "This is not arithmetic, Countdown, an equation, a word problem or a list task."
_HOLE = re.compile(r"\{(\w+)\}")


class Decline:
    """Everything else, from templates; whole templates are held out."""

    name = "decline"

    def generate(self, rng: random.Random, band: Band = "S") -> Problem:
        """A template with its holes filled from the word lists; its canonical form is the template."""
        template = rng.choice(TEMPLATES)

        def fill(hole: re.Match[str]) -> str:
            if hole[1] == "n":
                return str(
                    rng.choice((rng.randint(2, 12), rng.randint(13, 99), rng.randint(100, 2030)))
                )
            return rng.choice(WORDS[hole[1]])

        question = _HOLE.sub(fill, template)
        style = rng.random()
        if style < 0.15:
            question = question[0].lower() + question[1:]
        if style > 0.85:
            question = question.rstrip("?.")
        return Problem(self.name, band, question, SENTENCE, template)

    def verify(self, problem: Problem, answer: str) -> Verdict:
        return check_sentence(answer, SENTENCE)

    def recognise(self, question: str) -> Problem | None:
        """Never: nothing can check that a question is outside."""
        return None

    def _plain(self, problem: Problem, rng: random.Random) -> Trace:
        return Trace(THOUGHT, SENTENCE)

    def _short(self, problem: Problem, rng: random.Random) -> Trace:
        return Trace("This is not one of my tasks.", SENTENCE)

    @property
    def writers(self) -> tuple[TraceWriter, ...]:
        return (TraceWriter("plain", 0.93, self._plain), TraceWriter("short", 0.07, self._short))
