"""cli/votes: what counts as the same answer, who wins, and how a tie is told."""

from __future__ import annotations

from ponder.cli.votes import count_votes, final_answer
from ponder.core.types import Completion, FinishReason, Message, Usage


def given(*answers: str | tuple[str, FinishReason]) -> list[Completion]:
    pairs = [answer if isinstance(answer, tuple) else (answer, "stop") for answer in answers]
    return [Completion(Message("assistant", text), finish, Usage()) for text, finish in pairs]


def test_equal_numbers_are_one_answer() -> None:
    vote = count_votes(
        given("390", "391.", "1,391", "So:\n391.0", "$391$", r"It is \boxed{782/2}.")
    )
    assert vote.counts == (("391.", (1, 3, 4, 5)), ("390", (0,)), ("1,391", (2,)))
    assert vote.winner == 1
    assert vote.note == "4 of 6 agree"


def test_words_are_compared_without_case_and_full_stop() -> None:
    vote = count_votes(given("ant, bee", "Ant,  bee.", "bee, ant"))
    assert [choices for _, choices in vote.counts] == [(0, 1), (2,)]


def test_a_tie_goes_to_the_first_sampled_and_says_so() -> None:
    vote = count_votes(given("8", "7", "7", "8", ("9", "length")))
    assert vote.winner == 0
    assert vote.without == (4,)
    assert vote.note == "a tie at 2 of 5 between '8', '7'; the one sampled first is shown"


def test_nobody_answered() -> None:
    vote = count_votes(given("", ("7", "length")))
    assert (vote.winner, vote.counts, vote.without) == (None, (), (0, 1))
    assert vote.note == "no sample reached an answer"


def test_final_answer() -> None:
    assert final_answer("First 3.\n\nThen 4.\n") == "Then 4."
    assert final_answer(r"\boxed{1} or rather \boxed{2}") == "2"
    assert final_answer(" \n") == ""
