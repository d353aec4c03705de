"""The tokenizers and templates under PONDER_DATA, loaded once, beside transformers' own."""

from __future__ import annotations

import base64
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from text_data import DEEPSEEK, QWEN, TEMPLATES
from transformers import PreTrainedTokenizerFast

from ponder.text import ChatTemplate, Tokenizer

FIRST_RANKS = 32_768
"""How much of DeepSeek's vocabulary the tests use: the first ranks are a tokenizer of their own, four times as fast."""


def _deepseek_tokenizer_json() -> dict[str, Any]:
    """DeepSeek's `tokenizer.json` from its rank file: a token's merge is the last step of merging by lowest id."""
    vocab: dict[str, int] = {}
    for line in (DEEPSEEK / "deepseek_v3.tiktoken").read_text(encoding="ascii").splitlines():
        token, _, rank = line.partition(" ")
        if int(rank) < FIRST_RANKS:
            vocab[base64.b64decode(token).decode("utf-8")] = int(rank)
    merges: list[list[str]] = []
    for token, rank in sorted(vocab.items(), key=lambda item: item[1]):
        parts = list(token)
        while len(parts) > 2:
            best, i = min((vocab.get(a + b, rank), i) for i, (a, b) in enumerate(pairwise(parts)))
            if best >= rank:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2 and parts[0] in vocab and parts[1] in vocab:
            merges.append(parts)
    source = (DEEPSEEK / "SOURCE").read_text(encoding="utf-8")
    block = source.partition("DEEPSEEK3_LLM):\n")[2].splitlines()[:3]
    cuts = [
        {"type": "Split", "pattern": {"Regex": p.strip()}, "behavior": "Isolated", "invert": False}
        for p in block
    ]
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    names = json.loads((DEEPSEEK / "special_tokens.json").read_text(encoding="utf-8"))
    special = {
        text: i if i < 3 else FIRST_RANKS + n - 3 for n, (text, i) in enumerate(names.items())
    }
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": text, "special": i < 3, **flags} for text, i in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*cuts, level]},
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder's text files for each family: QwQ as vocab and merges, the same as tokenizer.json, DeepSeek."""
    root = tmp_path_factory.mktemp("folders")
    for name in ("qwen", "deepseek"):
        (root / name).mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(QWEN / name, root / "qwen" / name)
    shutil.copy(
        DEEPSEEK / "tokenizer_config_tokens.json", root / "deepseek" / "tokenizer_config.json"
    )
    text = json.dumps(_deepseek_tokenizer_json(), ensure_ascii=False)
    (root / "deepseek" / "tokenizer.json").write_text(text, encoding="utf-8")
    return {"qwen": root / "qwen", "deepseek": root / "deepseek"}


@pytest.fixture(scope="session")
def qwen(folders: dict[str, Path]) -> Tokenizer:
    return Tokenizer.from_folder(folders["qwen"])


@pytest.fixture(scope="session")
def deepseek(folders: dict[str, Path]) -> Tokenizer:
    return Tokenizer.from_folder(folders["deepseek"])


@pytest.fixture(scope="session")
def hf_qwen(folders: dict[str, Path]) -> Any:
    from transformers import Qwen2Tokenizer

    return Qwen2Tokenizer.from_pretrained(folders["qwen"])


@pytest.fixture(scope="session")
def hf_deepseek(folders: dict[str, Path]) -> Any:
    return PreTrainedTokenizerFast.from_pretrained(folders["deepseek"])


@pytest.fixture(scope="session")
def chats(qwen: Tokenizer, deepseek: Tokenizer) -> dict[str, ChatTemplate]:
    """Every template under test by its family's name."""
    special = json.loads((DEEPSEEK / "tokenizer_config_tokens.json").read_text(encoding="utf-8"))
    marks = {name: text for name, text in special.items() if text is not None}
    return {
        name: ChatTemplate(source, qwen)
        if re.match("qw", name)
        else ChatTemplate(source, deepseek, marks)
        for name, source in ((n, path.read_text(encoding="utf-8")) for n, path in TEMPLATES.items())
    }
