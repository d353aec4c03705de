"""Truth: llama.cpp, a program nobody here wrote, on the packaged model's weights as GGUF."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ponder.core.environment import PACKAGED_MODELS
from ponder.core.types import Message
from ponder.model.config import read_model_config
from ponder.model.folder import FolderTensors, load_model
from ponder.model.ops.scalar import float32_of
from ponder.model.view import PackedView
from ponder.text import ChatTemplate

pytestmark = pytest.mark.slow

NANO = PACKAGED_MODELS / "nano"
QUESTIONS = [
    "What is 17 * 23?",
    "Using the numbers 3, 7 and 25 once each, make 46.",
    "Solve 3x + 4 = 19 for x.",
    "Sort 5, 3, 9, 1 from smallest to largest.",
    "Who wrote Hamlet?",
]
NEW_TOKENS = 96
GGUF_WRITER = Path(__file__).resolve().parents[2] / "benchmarks" / "gguf_writer.py"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory):
    from llama_cpp import Llama

    writer = importlib.util.spec_from_file_location("gguf_writer", GGUF_WRITER)
    assert writer and writer.loader, GGUF_WRITER
    gguf_writer = importlib.util.module_from_spec(writer)
    writer.loader.exec_module(gguf_writer)

    path: Path = tmp_path_factory.mktemp("gguf") / "nano.gguf"
    config = read_model_config(NANO)
    tensors = FolderTensors(NANO, config)
    gguf_writer.write_gguf(path, config, lambda name: float32_of(tensors.tensor(name)))
    fp32 = 0
    return Llama(
        str(path), n_ctx=1024, n_batch=512, n_threads=1, logits_all=True, verbose=False,
        type_k=fp32, type_v=fp32, flash_attn=False,
    )  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_logits_and_greedy_tokens_equal_llama_cpp(llama, question: str) -> None:
    prompt = list(ChatTemplate.from_folder(NANO).render([Message("user", question)]).ids)
    llama.reset()
    llama.eval(prompt)
    ids = list(prompt)
    for _ in range(NEW_TOKENS):
        ids.append(int(np.argmax(llama.scores[len(ids) - 1])))
        llama.eval(ids[-1:])
    theirs = np.array(llama.scores[: len(ids)])

    model = load_model(NANO, weights="fp32")
    tokens = np.array(ids, np.int32)
    view = PackedView(model.ops.from_numpy(np.array([0, len(ids)], np.int32)))
    hidden = model.forward(tokens, np.arange(len(ids), dtype=np.int32), view)
    ours = model.ops.to_numpy(model.logits(hidden))

    assert np.abs(ours - theirs).max() <= 5e-4, f"largest difference {np.abs(ours - theirs).max()}"
    greedy = ours[len(prompt) - 1 : -1].argmax(axis=1).tolist()
    assert greedy == ids[len(prompt) :], f"Ponder's greedy tokens differ on {question!r}"
