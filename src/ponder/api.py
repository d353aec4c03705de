"""ponder/api: `ponder.load(…)`: a model in this process that can be asked.

with ponder.load("nano") as model:
    print(model.ask("What is 17 * 23?").message.content)
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from ponder.clients.local import LocalClient, LocalStream
from ponder.core.environment import Environment, find_model, read_environment
from ponder.core.errors import ConfigError, ModelFolderError
from ponder.core.types import Completion, Message, SamplingParams
from ponder.engine import Engine, EngineConfig, EngineWorker
from ponder.model.folder import WeightsChoice, load_model
from ponder.model.model import Model
from ponder.model.ops import OpsName
from ponder.model.strict_json import read_object
from ponder.text import ChatTemplate, Tokenizer


class SamplingChanges(TypedDict, total=False):
    """Fields of SamplingParams that differ from the model's recommended values."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[int, float]
    seed: int | None
    max_tokens: int | None
    stop: tuple[str, ...]
    stop_ids: tuple[int, ...]
    ignore_end_ids: bool
    n: int
    logprobs: int | None


class LoadedModel:
    """A model with its tokenizer, its engine and its thread. Close it, or use it in a `with`."""

    def __init__(self, name: str, folder: Path, model: Model, engine: EngineConfig) -> None:
        """Wires a loaded `model` whose tokenizer, template and recommended sampling lie in `folder`."""
        self.name = name
        self.folder = folder
        self.model = model
        self.tokenizer = Tokenizer.from_folder(folder)
        self.template = ChatTemplate.from_folder(folder, self.tokenizer)
        self.sampling = recommended_sampling(folder)
        """Used where a call says nothing else; from the folder's generation_config.json."""
        if self.tokenizer.vocab_size > model.config.vocab_size:
            raise ModelFolderError(
                f"{str(folder)!r}: the tokenizer has {self.tokenizer.vocab_size} ids and the model "
                f"{model.config.vocab_size} rows",
                "its files do not belong together; fetch the model folder again",
            )
        self.worker = EngineWorker(Engine(model, self.tokenizer, engine))
        # Closed at exit too: a thread inside native code would outlive what it uses.
        self._end = weakref.finalize(self, self.worker.close)
        self.client = LocalClient(self.worker, self.template, self.sampling)

    def ask(
        self,
        question: str,
        *,
        system: str | None = None,
        thinking: bool = True,
        budget: int | None = None,
        **sampling: Unpack[SamplingChanges],
    ) -> Completion:
        """The answer to one question. Raises PromptError when it is empty or too long."""
        return self.chat(_question(question, system), thinking=thinking, budget=budget, **sampling)

    def stream(
        self,
        question: str,
        *,
        system: str | None = None,
        thinking: bool = True,
        budget: int | None = None,
        **sampling: Unpack[SamplingChanges],
    ) -> LocalStream:
        """The answer as it comes; `n` choices when `n` is given."""
        return self.client.stream(
            _question(question, system),
            replace(self.sampling, **sampling),
            thinking=thinking,
            thinking_budget=budget,
        )

    def chat(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool = True,
        budget: int | None = None,
        **sampling: Unpack[SamplingChanges],
    ) -> Completion:
        """The next turn of a conversation."""
        params = replace(self.sampling, **sampling)
        if params.n != 1:
            raise ConfigError(
                f"n is {params.n}, and one answer is returned.", "Use stream for more."
            )
        stream = self.client.stream(messages, params, thinking=thinking, thinking_budget=budget)
        for _ in stream:
            pass
        return stream.completions[0]

    def score(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Log-probability of each next token: element i is that of `ids[i + 1]` after `ids[: i + 1]`."""
        return self.model.score(ids)

    def close(self) -> None:
        """End the engine's thread; safe to call twice."""
        self._end()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def load(
    model: str | Path | None = None,
    *,
    weights: WeightsChoice = "auto",
    threads: int | None = None,
    ops: OpsName = "auto",
    engine: EngineConfig | None = None,
    environment: Environment | None = None,
) -> LoadedModel:
    """A model by name (`nano`, a pulled `owner/name`) or folder; None: PONDER_MODEL, or nano.

    Raises ModelFolderError when it cannot be used as it is.
    """
    known = environment or read_environment()
    place = find_model(known.model if model is None else str(model), known)
    loaded = load_model(place.folder, weights, ops, known.threads if threads is None else threads)
    return LoadedModel(place.name, place.folder, loaded, engine or EngineConfig())


def recommended_sampling(folder: Path) -> SamplingParams:
    """The sampling that generation_config.json asks for; `do_sample` false means greedy."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return SamplingParams()
    given = read_object(path, "a readable generation_config.json")
    if not given.get("do_sample", "temperature" in given):
        return SamplingParams(temperature=0.0)
    limits = {
        "temperature": (0.0, 100.0),
        "top_k": (0, 1 << 22),
        "top_p": (0.0, 1.0),
        "min_p": (0.0, 1.0),
        "repetition_penalty": (0.01, 10.0),
    }
    found: dict[str, Any] = {}
    for key, (low, high) in limits.items():
        value: Any = given.get(key)
        if value is None:
            continue
        if not isinstance(value, int | float) or not low <= value <= high:
            raise ModelFolderError(
                f"{str(path)!r}: {key!r} is {value!r}",
                f"allowed is a number from {low:g} to {high:g}",
            )
        found[key] = int(value) if key == "top_k" else float(value)
    return SamplingParams(**found)


def _question(question: str, system: str | None) -> list[Message]:
    head = [] if system is None else [Message("system", system)]
    return [*head, Message("user", question)]
