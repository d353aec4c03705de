"""train/samples: what the model in training answers, by the engine that will serve it; for people to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ponder.core.types import Message, SamplingParams, TokenRequest
from ponder.engine import Engine, EngineConfig
from ponder.model.config import ModelConfig
from ponder.model.model import Model
from ponder.model.ops import make_ops
from ponder.model.ops.protocol import WeightsFormat
from ponder.model.weights import prepare_weights
from ponder.tasks import held_out, verify
from ponder.text import ChatTemplate, Tokenizer

MAX_TOKENS = 400


def sample(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    weights_format: WeightsFormat,
    folder: Path,
    families: Sequence[str],
) -> list[dict[str, Any]]:
    """Greedy text and verdict for the first held-out problem of each family; `folder` holds the tokenizer."""
    ops = make_ops(threads=1)
    prepared = prepare_weights(ops, config, lambda name: weights[name].numpy(), weights_format)
    tokenizer = Tokenizer.from_folder(folder)
    template = ChatTemplate.from_folder(folder, tokenizer)
    model = Model(config, ops, prepared, weights_format)
    engine = Engine(model, tokenizer, EngineConfig(cache_mib=64))
    problems = {family: held_out(family, "S", 1)[0] for family in families}
    greedy = SamplingParams(temperature=0.0, max_tokens=MAX_TOKENS, seed=0)
    for family, problem in problems.items():
        prompt = template.render([Message("user", problem.question)])
        state = template.thinking_params(prompt)
        engine.add(TokenRequest(prompt.ids, greedy, state, request_id=family))
    ids: dict[str, list[int]] = defaultdict(list)
    while not engine.is_idle:
        for event in engine.step():
            ids[event.request_id] += event.token_ids
    records: list[dict[str, Any]] = []
    for family, problem in problems.items():
        text = tokenizer.decode(ids[family], skip_special=True)
        verdict = verify(problem, text.partition("</think>")[2].strip())
        question = {"family": family, "question": problem.question, "text": text}
        records.append(question | {"verdict": verdict.status, "reason": verdict.reason})
    return records
