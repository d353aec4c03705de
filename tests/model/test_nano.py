"""Truth for the packaged model: transformers on the same folder, and the other op set on the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from ponder.core.environment import PACKAGED_MODELS
from ponder.core.types import Message
from ponder.model.folder import WeightsChoice, load_model
from ponder.model.view import PackedView
from ponder.text import ChatTemplate

NANO = PACKAGED_MODELS / "nano"
NEW_TOKENS = 64


@pytest.fixture(scope="module")
def theirs() -> transformers.PreTrainedModel:
    torch.set_num_threads(1)
    return transformers.AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32).eval()


def prompt_ids(question: str) -> list[int]:
    return list(ChatTemplate.from_folder(NANO).render([Message("user", question)]).ids)


@pytest.mark.parametrize("question", ["What is 17 * 23?", "Sort 5, 3, 9, 1.", "Who wrote Hamlet?"])
def test_logits_and_greedy_tokens_equal_transformers(theirs, question: str) -> None:
    prompt = prompt_ids(question)
    with torch.inference_mode():
        made = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
        )[0]
        expected_TV = theirs(made[None]).logits[0].numpy()
    ids = made.numpy().astype(np.int32)

    model = load_model(NANO, weights="fp32")
    view = PackedView(model.ops.from_numpy(np.array([0, len(ids)], np.int32)))
    hidden_TD = model.forward(ids, np.arange(len(ids), dtype=np.int32), view)
    logits_TV = model.ops.to_numpy(model.logits(hidden_TD))

    assert np.abs(logits_TV - expected_TV).max() <= 1e-4
    greedy = logits_TV[len(prompt) - 1 : -1].argmax(axis=1)
    assert greedy.tolist() == ids[len(prompt) :].tolist()


def test_the_tokenizer_is_transformers_own() -> None:
    text = "Ann has 12 pens.\nWhat is 17 * (23 - 4)? [BACK] x = -3/4"
    ours = ChatTemplate.from_folder(NANO).tokenizer
    their_ids = transformers.AutoTokenizer.from_pretrained(NANO).encode(text)
    assert ours.encode(text, allow_special=True) == their_ids


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_scores_are_the_same_bits_in_both_op_sets(weights: WeightsChoice) -> None:
    ids = prompt_ids("Use 3, 7 and 12 to make 48. Use each number exactly once, with + - * /.")
    scores = [load_model(NANO, weights, ops).score(ids) for ops in ("reference", "auto")]
    assert scores[0].tobytes() == scores[1].tobytes()
