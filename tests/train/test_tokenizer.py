"""train/tokenizer and train/documents: what a number looks like, and that documents are what the template renders."""

from __future__ import annotations

import signal

import pytest

from ponder.core.types import Message
from ponder.text import ChatTemplate, Tokenizer
from ponder.train.documents import DocumentsConfig, DocumentStream, pack_step
from ponder.train.entry import whole_import


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return Tokenizer.from_folder(tokenizer_folder)


def pieces(tokenizer, text: str) -> list[str]:
    return [tokenizer.token_bytes(i).decode("utf-8", "replace") for i in tokenizer.encode(text)]


def test_digits_and_operators_stand_alone(tokenizer):
    assert pieces(tokenizer, "17*23= 391\n12 + -4") == (
        ["1", "7", "*", "2", "3", "=", " ", "3", "9", "1", "\n", "1", "2", " +", " -", "4"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["a  b\t\r\n\n c", "héé 漢字 ÷×− 🙂", " 7x", "don't", "\x00\x7f", ""]
)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_words_of_the_documents_are_whole(tokenizer):
    assert pieces(tokenizer, "user\nWhat is") == ["user", "\n", "What", " is"]
    assert tokenizer.id_of("<think>") is not None and not tokenizer.is_special(
        tokenizer.id_of("<think>")
    )
    assert tokenizer.is_special(tokenizer.id_of("<|im_end|>"))


def test_a_document_is_what_the_template_renders(tokenizer, tokenizer_folder):
    template = ChatTemplate.from_folder(tokenizer_folder, tokenizer)
    thinking = DocumentStream(DocumentsConfig(no_thinking=0, earlier_turns=0), tokenizer, 0)
    at_once = DocumentStream(DocumentsConfig(no_thinking=1, earlier_turns=0), tokenizer, 0)
    for index in range(40):
        full, short = thinking.document(index).ids, at_once.document(index).ids
        text = tokenizer.decode(full)
        question = text.removeprefix("<|im_start|>user\n").split("<|im_end|>")[0]
        prompt = template.render([Message("user", question)]).ids
        assert full[: len(prompt)] == prompt
        direct = template.render([Message("user", question)], thinking=False).ids
        assert short[: len(direct)] == direct
        assert full[-1] == tokenizer.id_of("<|im_end|>")


def test_the_loss_is_on_the_assistant(tokenizer):
    config = DocumentsConfig(prompt_weight=0.25, no_thinking=0.5, earlier_turns=0.5)
    stream = DocumentStream(config, tokenizer, 3)
    for index in range(40):
        document = stream.document(index)
        assert document == stream.document(index)
        marks = [i for i, t in enumerate(document.ids) if t == tokenizer.id_of("<think>")]
        start = marks[-1] + 2  # after "<think>\n"
        assert set(document.weights[:start]) == {0.25}
        at_once = document.ids[start + 1] == tokenizer.id_of("</think>")
        rest = document.weights[start + 4 * at_once :]
        assert set(rest) == {1.0}
        assert not at_once or set(document.weights[start : start + 4]) == {0.0}


def test_packing_keeps_documents_whole_and_in_stream_order(tokenizer):
    stream = DocumentStream(DocumentsConfig(max_len=120), tokenizer, 0)
    batches, cursor = pack_step(stream, 5, 1500, 400)
    kept = [d for i in range(5, cursor) if len((d := stream.document(i)).ids) <= 120]
    packed = []
    for batch in batches:
        assert len(batch.inputs_T) <= 400
        for begin, end in zip(batch.starts_S1, batch.starts_S1[1:], strict=False):
            assert batch.positions_T[begin:end] == list(range(end - begin))
            packed.append((*batch.inputs_T[begin:end], batch.targets_T[end - 1]))
    assert sorted(packed) == sorted(document.ids for document in kept)
    assert pack_step(stream, 5, 1500, 400) == (batches, cursor)


def test_ctrl_c_during_an_import_comes_at_its_end():
    done: list[str] = []

    def importing() -> None:
        with whole_import():
            signal.raise_signal(signal.SIGINT)
            done.append("imported")

    with pytest.raises(KeyboardInterrupt):
        importing()
    assert done == ["imported"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
