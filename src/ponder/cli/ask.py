"""cli/ask: one question, one answer on stdout, and what can be said about it on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from ponder.api import LoadedModel
from ponder.cli.answering import (
    Answered,
    larger_model,
    open_model,
    sampling_given,
    show,
)
from ponder.cli.screen import Screen
from ponder.core.environment import Environment
from ponder.core.errors import EXIT_CODES, ConfigError, PromptError
from ponder.core.types import Completion, Delta, Message, SamplingParams

MAX_STDIN_BYTES = 16_000_000
VOTING_TEMPERATURE = 0.7
"""Used by --votes with a model whose own sampling is greedy: equal samples cannot vote."""


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`ponder ask`."""
    is_form = bool(options.json or options.jsonl)
    _check_flags(options, is_form)
    question = read_question(options.question)
    screen = Screen(environment.color, quiet=is_form)
    with open_model(options, environment, screen) as loaded:
        sampling = _sampling(options, loaded.sampling, screen)
        head = [Message("system", options.system)] if options.system is not None else []
        stream = loaded.client.stream(
            [*head, Message("user", question)],
            sampling,
            thinking=options.think is not False,
            thinking_budget=options.budget,
        )
        on_delta = _collector(options, screen, sampling.n)
        answered = show(stream, screen, not options.hide_thinking, on_delta)
        if answered.stopped:
            if not is_form:
                screen.answer("\n")
            return EXIT_CODES["interrupted"]
        report = _report(question, loaded, answered, screen if sampling.n > 1 else None)
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
    elif options.jsonl:
        _event({"type": "done"} | report)
    else:
        _finish(answered, report, options, screen)
    return EXIT_CODES["ok"]


def read_question(words: Sequence[str]) -> str:
    """The words joined by spaces, `-` standing for stdin; stdin alone when there are none.

    Raises PromptError when it is empty or not UTF-8.
    """
    if not words and sys.stdin.isatty():
        raise PromptError("There is no question.", 'Give one: ponder ask "What is 17 * 23?"')
    parts = [_stdin() if word == "-" else word for word in words] if words else [_stdin()]
    question = "\n\n".join(parts) if "-" in words else " ".join(parts)
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The question is not UTF-8 (at character {error.start}).",
            "Give text in UTF-8, for example through iconv.",
        ) from None
    if not question.strip():
        raise PromptError("The question is empty.", 'Give one: ponder ask "What is 17 * 23?"')
    return question.strip()


def _stdin() -> str:
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise PromptError(
            f"The question on stdin has more than {MAX_STDIN_BYTES:,} bytes.",
            "Give a shorter one; the model's context holds far less.",
        )
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"The question on stdin is not UTF-8 (byte {data[error.start]:#04x} at {error.start}).",
            "Give text in UTF-8, for example through iconv.",
        ) from None


def _check_flags(options: argparse.Namespace, is_form: bool) -> None:
    """Refuse flags that contradict each other, before anything is loaded."""
    if options.json and options.jsonl:
        raise ConfigError("--json and --jsonl exclude each other.", "Give one of them.")
    if options.logprobs is not None and not is_form:
        raise ConfigError("--logprobs prints nothing by itself.", "Give --json or --jsonl too.")
    if (options.votes or 1) > 1 and options.temperature == 0:
        raise ConfigError(
            f"--votes {options.votes} with --temperature 0 samples one answer {options.votes} times.",
            "Give a temperature above 0, or leave it out.",
        )


def _sampling(
    options: argparse.Namespace, default: SamplingParams, screen: Screen
) -> SamplingParams:
    sampling = sampling_given(options, default)
    if options.logprobs is not None:
        sampling = replace(sampling, logprobs=options.logprobs)
    if options.votes is None or options.votes == 1:
        return sampling
    if sampling.temperature == 0:
        sampling = replace(sampling, temperature=VOTING_TEMPERATURE)
        screen.note(f"(voting at temperature {VOTING_TEMPERATURE}; alone this model is greedy)")
    return replace(sampling, n=options.votes)


def _collector(
    options: argparse.Namespace, screen: Screen, num_choices: int
) -> Callable[[Delta], None] | None:
    """What takes the pieces when they are not printed as they come."""
    if options.jsonl:
        _event({"type": "start"})
        return lambda piece: _event(
            {"type": piece.kind, "text": piece.text, "choice": piece.choice}
        )
    if options.json or num_choices > 1:
        if num_choices > 1:
            screen.note(f"sampling {num_choices} answers …")
        return lambda piece: None
    return None


def _event(event: dict[str, Any]) -> None:
    print(json.dumps(event, ensure_ascii=False), flush=True)


def _report(
    question: str, loaded: LoadedModel, answered: Answered, voters: Screen | None
) -> dict[str, Any]:
    """Everything known about the answer, as `--json` prints it."""
    done, votes = answered.completions[0], {}
    if voters is not None:
        done, votes = _voted(answered.completions)
    answer = (done.message.content or "").strip()
    report: dict[str, Any] = {
        "model": loaded.name,
        "weights": loaded.model.weights_format,
        "question": question,
        "answer": answer,
        "thinking": done.message.reasoning,
        "finish_reason": done.finish_reason,
        "thinking_end": done.thinking_end,
        "usage": asdict(done.usage),
        "seed": done.seed,
        "check": check(question, answer),
        "timing": {"first_token_s": answered.first_token_s, "total_s": answered.total_s},
        **votes,
    }
    if done.logprobs:
        report["logprobs"] = [asdict(entry) for entry in done.logprobs]
    return report


def _voted(completions: Sequence[Completion]) -> tuple[Completion, dict[str, Any]]:
    from ponder.cli.votes import count_votes

    vote = count_votes(completions)
    rows = [
        {"answer": answer, "count": len(choices), "choices": list(choices)}
        for answer, choices in vote.counts
    ]
    shown = completions[vote.winner if vote.winner is not None else 0]
    return shown, {"votes": rows, "vote_note": vote.note, "without_answer": list(vote.without)}


def check(question: str, answer: str) -> dict[str, str]:
    """The verdict of the family that the question belongs to; `not checked` where there is none."""
    from ponder.tasks import recognise, verify

    problem = recognise(question)
    if problem is None:
        return {"status": "not checked", "reason": "no verifier reads this question"}
    verdict = verify(problem, answer)
    return {"status": verdict.status, "reason": verdict.reason}


def _finish(
    answered: Answered,
    report: dict[str, Any],
    options: argparse.Namespace,
    screen: Screen,
) -> None:
    """After the answer: the vote, the check, why it stopped, and the way to a larger model."""
    if "votes" in report:
        if report["thinking"] and not options.hide_thinking:
            screen.thinking(report["thinking"])
            screen.end_thinking()
        for row in report["votes"]:
            screen.note(f"{row['count']:>3} × {row['answer']}")
        if report["without_answer"]:
            screen.note(f"{len(report['without_answer']):>3} × (no answer)")
        screen.note(f"vote: {report['vote_note']}")
        screen.answer(report["answer"])
    screen.answer("\n")
    if report["finish_reason"] == "length":
        screen.note("cut: the limit of tokens was reached (see --max-tokens)")
    from ponder.evals.table import is_declined

    if is_declined(report["answer"]):
        screen.note(larger_model(report["question"]))
    else:
        screen.note(_check_line(report["check"]))
    if options.stats:
        screen.note(answered.statistics())


def _check_line(verdict: dict[str, str]) -> str:
    said = {"right": "checked", "wrong": "check failed"}.get(verdict["status"], "not checked")
    return f"{said}: {verdict['reason']}"
