"""A TokenEngine whose turns are written beforehand; for tests of what stands on an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ponder.core.types import TokenEvent, TokenLogprob, TokenRequest, Usage
from ponder.text import ChatTemplate

NANO = Path(__file__).parents[2] / "src" / "ponder" / "models" / "nano"
TEMPLATE = ChatTemplate.from_folder(NANO)


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(TEMPLATE.tokenizer.encode(text, allow_special=True))


class Replay:
    """Gives one written turn a request, a token an event, with made-up log-probabilities 0, −1/8, −2/8, …"""

    def __init__(self, *turns: str, finish: str = "stop", forced: int = 0) -> None:
        self.turns, self.finish, self.forced = list(turns), finish, forced
        self.requests: list[TokenRequest] = []
        self.aborted = 0

    def submit(self, request: TokenRequest) -> Stream:
        self.requests.append(request)
        return Stream(self, ids_of(self.write(request)), request)

    def write(self, request: TokenRequest) -> str:
        return self.turns.pop(0)


class Answers(Replay):
    """Its turns are a function of the request."""

    def __init__(self, write: Callable[[TokenRequest], str]) -> None:
        super().__init__()
        self.write = write  # type: ignore[method-assign]


class Stream:
    request_id = "replayed"

    def __init__(self, engine: Replay, ids: tuple[int, ...], request: TokenRequest) -> None:
        self.engine, self.request = engine, request
        self.ids = ids[: request.sampling.max_tokens]
        self.is_cut = len(self.ids) < len(ids)

    def abort(self) -> None:
        self.engine.aborted += 1

    def answer_now(self) -> None:
        raise AssertionError("nobody asked")

    def __iter__(self) -> Iterator[TokenEvent]:
        for at, token_id in enumerate(self.ids):
            is_last = at + 1 == len(self.ids)
            finish = ("length" if self.is_cut else self.engine.finish) if is_last else None
            yield TokenEvent(
                "replayed", 0, (token_id,), "answering", (TokenLogprob(token_id, -at / 8),),
                finish_reason=finish, thinking_end="self" if is_last else None,
                usage=Usage(len(self.request.prompt_ids), 0, len(self.ids)) if is_last else None,
                forced=(0,) if at < self.engine.forced else (), error="no memory" if finish == "error" else "",
            )  # fmt: skip
