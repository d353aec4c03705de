"""Tokenizers against the published vectors and against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from text_data import QWEN

from ponder.core.errors import ModelFolderError, PromptError
from ponder.text import Tokenizer

pytestmark = pytest.mark.data

TEXTS = st.text(
    st.one_of(
        st.sampled_from(" \n\t\rabz019.,'<|>你é\u0301\u200d🙂_"),
        st.characters(exclude_categories=["Cs"]),
    )
)


def test_published_vectors(qwen: Tokenizer) -> None:
    texts = (
        (QWEN / "test_vectors" / "qwen2.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    )
    lines = (QWEN / "test_vectors" / "qwen2.out").read_text().split("\n")
    assert len(texts) == len(lines) == 47
    for text, line in zip(texts, lines):
        assert qwen.encode(text) == [int(word) for word in line.split()], text


def test_deepseek_published_ids(deepseek: Tokenizer) -> None:
    assert deepseek.encode("Hello world") == [19923, 2058]
    assert deepseek.encode("你好世界") == [30594, 3427]


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_same_ids_as_transformers(qwen: Tokenizer, hf_qwen: Any, text: str) -> None:
    assert qwen.encode(text) == hf_qwen.encode(text, add_special_tokens=False)
    marked = f"{text}<|im_start|>{text}</think>{text}<|im_end|>"
    assert qwen.encode(marked, allow_special=True) == hf_qwen.encode(
        marked, add_special_tokens=False
    )


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_deepseek_same_ids_as_transformers(
    deepseek: Tokenizer, hf_deepseek: Any, text: str
) -> None:
    marked = f"{text}<｜User｜>{text}</think>{text}"
    assert deepseek.encode(marked, allow_special=True) == hf_deepseek.encode(
        marked, add_special_tokens=False
    )


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_bytes_of_the_ids_are_the_text(deepseek: Tokenizer, text: str) -> None:
    ids = deepseek.encode(text)
    assert b"".join(map(deepseek.token_bytes, ids)) == text.encode()
    assert deepseek.decode(ids) == text


def test_control_tokens_only_when_allowed(qwen: Tokenizer) -> None:
    text = "a<|im_end|></think>"
    assert qwen.encode(text, allow_special=True) == [64, 151645, 151668]
    assert not {151645, 151668} & set(qwen.encode(text))
    assert qwen.decode(qwen.encode(text)) == text


def test_ids_and_flags(qwen: Tokenizer) -> None:
    assert qwen.vocab_size == 151669
    assert qwen.id_of("</think>") == 151668
    assert qwen.id_of("no such token") is None
    assert qwen.is_special(151645)
    assert not qwen.is_special(151668)
    assert qwen.decode([64, 151645, 151668], skip_special=True) == "a</think>"


def test_ids_without_text_survive(qwen: Tokenizer) -> None:
    assert [qwen.token_bytes(i) for i in (151669, 152063, 10**9, -1)] == [b""] * 4
    assert qwen.decode([64, 152063, 65]) == "ab"


def test_broken_utf8_is_replaced(qwen: Tokenizer) -> None:
    first = qwen.encode("🫠")[0]
    assert qwen.decode([first]) == "\ufffd"


def test_lone_surrogate_is_refused(qwen: Tokenizer) -> None:
    with pytest.raises(PromptError, match="lone surrogate at character 1"):
        qwen.encode("a\ud800")


def _write(folder: Path, name: str, data: object) -> None:
    (folder / name).write_text(
        data if isinstance(data, str) else json.dumps(data), encoding="utf-8"
    )


SMALL = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    "pre_tokenizer": {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    },
    "added_tokens": [{"id": 3, "content": "<x>", "special": True, "normalized": False}],
}


def test_added_tokens_of_both_files_are_joined(tmp_path: Path) -> None:
    _write(tmp_path, "tokenizer.json", SMALL)
    _write(
        tmp_path,
        "tokenizer_config.json",
        {"added_tokens_decoder": {"4": {"content": "<y>", "lstrip": True}}},
    )
    _write(tmp_path, "added_tokens.json", {"<z>": 5})
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.encode("ab<x>a  <y><z>", allow_special=True) == [2, 3, 0, 4, 5]
    assert tokenizer.token_bytes(4) == b"<y>"


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_control_tokens_inside_the_vocabulary_stay_apart(
    tmp_path: Path, ignore_merges: bool
) -> None:
    """As a freshly trained tokenizer has them: in the vocabulary and among the added tokens, under one id."""
    marks = ["<|im_end|>", "<think>", "</think>", "[BACK]"]
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    backend.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["think of a number and go back"] * 3, trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(tmp_path)
    for i, mark in enumerate(marks):
        assert tokenizer.encode(mark, allow_special=True) == backend.encode(mark).ids == [i]
        assert i not in tokenizer.encode(mark)
        assert tokenizer.decode(tokenizer.encode(mark)) == mark
    assert tokenizer.vocab_size == backend.get_vocab_size()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no tokenizer in"),
        ({"tokenizer.json": "{"}, "is not JSON"),
        ({"tokenizer.json": "[]"}, "holds no JSON object"),
        ({"tokenizer.json": {}}, "is broken"),
        (
            {"tokenizer.json": {"model": {"type": "Unigram"}}},
            "of type 'Unigram' that is not byte-level BPE",
        ),
        ({"tokenizer.json": SMALL | {"model": {"type": "BPE", "vocab": 3}}}, "is broken"),
        ({"tokenizer.json": SMALL | {"added_tokens": [{}]}}, "is broken"),
        (
            {"tokenizer.json": SMALL, "tokenizer_config.json": {"added_tokens_decoder": [1]}},
            "is broken",
        ),
        ({"tokenizer.json": SMALL, "added_tokens.json": {"<x>": 9}}, "'<x>' has id 3 and id 9"),
        (
            {"vocab.json": {"a": 0}, "merges.txt": "#version: 0.2\na b\n"},
            "line 2 in .* does not fit vocab.json: 'a b'",
        ),
    ],
)
def test_broken_folders(tmp_path: Path, files: dict[str, object], message: str) -> None:
    for name, data in files.items():
        _write(tmp_path, name, data)
    with pytest.raises(ModelFolderError, match=message):
        Tokenizer.from_folder(tmp_path)
