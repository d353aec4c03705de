"""text/tokenizer: text ↔ token ids for byte-level BPE, on the `tokenizers` library; knows no chat.

Ids come from the model's folder, never from a constant. Added tokens (`<|im_end|>`, `<think>`) are split off here and
not by the library, so that a caller can say whether they may be recognised at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from ponder.core.errors import ModelFolderError, PromptError

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2, Qwen2.5, QwQ and Qwen3 cut text before merging: each digit stands alone."""


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable character of each byte, reversed (openai/gpt-2, `bytes_to_unicode`)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    table = {chr(byte): byte for byte in shown}
    return table | {chr(256 + i): byte for i, byte in enumerate(hidden)}


BYTE_OF_CHAR = _byte_alphabet()


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is recognised before merging; flags as in `tokenizer.json`."""

    id: int
    content: str
    special: bool = False
    """True: skipped when ids are shown as text, e.g. `<|im_end|>`; `<think>` is not special in Qwen's folders."""
    normalized: bool = False
    """True: looked for after normalisation, not before."""
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


class Tokenizer:
    """Byte-level BPE with its added tokens. Safe to share between threads once built."""

    def __init__(self, backend: tokenizers.Tokenizer, added: Sequence[AddedToken] = ()) -> None:
        """`backend` must carry no added tokens of its own; `from_folder` sees to that."""
        self._backend = backend
        self.added: dict[str, AddedToken] = {token.content: token for token in added}
        """Every added token by its text."""
        self._added_by_id = {token.id: token for token in added}
        self._raw_pattern = _added_pattern([t for t in added if not t.normalized])
        self._normal_pattern = _added_pattern([t for t in added if t.normalized])
        self._bytes: dict[int, bytes] = {}
        base = max(backend.get_vocab(with_added_tokens=False).values(), default=-1)
        self.vocab_size: int = max([base, *self._added_by_id]) + 1
        """Highest id plus one; a model's embedding may be padded beyond it."""

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read `tokenizer.json`, or `vocab.json` with `merges.txt`.

        Raises ModelFolderError naming the file that is missing or broken.
        """
        folder = Path(path)
        added: list[AddedToken] = []
        try:
            if (folder / "tokenizer.json").is_file():
                backend, added = _from_tokenizer_json(folder / "tokenizer.json")
            elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
                backend = _from_vocab_and_merges(folder)
            else:
                raise ModelFolderError(
                    f"no tokenizer in {str(folder)!r}",
                    "a model folder holds tokenizer.json, or vocab.json and merges.txt",
                )
            return cls(backend, _merge_added(added, _configured_added(folder)))
        except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ModelFolderError(
                f"the tokenizer in {str(folder)!r} is broken: {error!r}"[:300],
                "fetch the model folder again",
            ) from None

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of `text`; added tokens in it stay plain text unless `allow_special`.

        Raises PromptError when `text` cannot be written as UTF-8 (lone surrogates).
        """
        ids: list[int] = []
        for piece, token_id in self.split(text) if allow_special else [(text, None)]:
            ids.extend(self._encode_plain(piece) if token_id is None else [token_id])
        return ids

    def split(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Cut `text` at added tokens: (plain text, None) or (the token's text, its id), in order."""
        for piece, token_id in self._cut(text, self._raw_pattern):
            if token_id is not None or self._normal_pattern is None:
                yield piece, token_id
                continue
            normalizer = self._backend.normalizer
            normal = normalizer.normalize_str(piece) if normalizer is not None else piece
            yield from self._cut(normal, self._normal_pattern)

    def _cut(self, text: str, pattern: re.Pattern[str] | None) -> Iterator[tuple[str, int | None]]:
        start = 0
        for match in pattern.finditer(text) if pattern is not None else ():
            if match.start() > start:
                yield text[start : match.start()], None
            token = self.added.get(match.group()) or self.added[match.group().strip()]
            yield match.group(), token.id
            start = match.end()
        if start < len(text):
            yield text[start:], None

    def _encode_plain(self, text: str) -> list[int]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise PromptError(
                f"text that is not valid Unicode: a lone surrogate at character {error.start}",
                "send text that can be written as UTF-8",
            ) from None
        return self._backend.encode(text, add_special_tokens=False).ids

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes this id stands for; `b""` for an id without text (padding of the embedding)."""
        data = self._bytes.get(token_id)
        if data is None:
            added = self._added_by_id.get(token_id)
            if added is not None:
                data = added.content.encode()
            else:
                token = (
                    self._backend.id_to_token(token_id) if 0 <= token_id < self.vocab_size else None
                )
                data = _bytes_of(token) if token is not None else b""
            self._bytes[token_id] = data
        return data

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Text of `ids`; broken UTF-8 becomes U+FFFD. `skip_special` leaves out special added tokens."""
        kept = (i for i in ids if not (skip_special and self.is_special(i)))
        return b"".join(map(self.token_bytes, kept)).decode("utf-8", errors="replace")

    def id_of(self, text: str) -> int | None:
        """Id of the added token spelled `text`, or None."""
        token = self.added.get(text)
        return None if token is None else token.id

    def is_special(self, token_id: int) -> bool:
        """True for an added token that is not part of the text, e.g. an end mark."""
        token = self._added_by_id.get(token_id)
        return token is not None and token.special


def _bytes_of(token: str) -> bytes:
    try:
        return bytes(BYTE_OF_CHAR[char] for char in token)
    except (
        KeyError
    ):  # a vocabulary entry outside the byte alphabet, such as a special token's own text
        return token.encode()


def _added_pattern(added: Sequence[AddedToken]) -> re.Pattern[str] | None:
    """Longest alternative first, as the library's leftmost-longest search has it."""
    parts: list[str] = []
    for token in sorted(added, key=lambda t: len(t.content), reverse=True):
        part = re.escape(token.content)
        if token.single_word:
            part = rf"(?<!\w){part}(?!\w)"
        parts.append((r"\s*" if token.lstrip else "") + part + (r"\s*" if token.rstrip else ""))
    return re.compile("|".join(parts)) if parts else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder; `{}` when the file is absent. Raises ModelFolderError when broken."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(
            f"{str(path)!r} is not JSON: {error}", "fetch the model folder again"
        ) from None
    if not isinstance(data, dict):
        raise ModelFolderError(
            f"{str(path)!r} holds no JSON object", "fetch the model folder again"
        )
    return cast(dict[str, Any], data)


def _from_tokenizer_json(path: Path) -> tuple[tokenizers.Tokenizer, list[AddedToken]]:
    data = read_json(path)
    kind = data["model"].get("type", "BPE")
    stages = json.dumps([data.get("decoder"), data.get("pre_tokenizer")])
    if kind != "BPE" or '"ByteLevel"' not in stages:
        raise ModelFolderError(
            f"{str(path)!r} holds a tokenizer of type {kind!r} that is not byte-level BPE",
            "byte-level BPE is supported (Qwen2, Qwen2.5, QwQ, Qwen3, Llama 3, DeepSeek-V3/R1)",
        )
    entries = cast(list[Mapping[str, Any]], data.get("added_tokens") or [])
    added = [_added_token(int(entry["id"]), entry) for entry in entries]
    if data["model"].get(
        "ignore_merges"
    ):  # whole words are looked up: control text must not be one
        for token in added:
            data["model"]["vocab"].pop(token.content, None)
    data |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(data, ensure_ascii=False)), added
    except Exception as error:  # noqa: BLE001 – the library raises bare Exception for a broken file
        raise ModelFolderError(
            f"{str(path)!r} is broken: {error}", "fetch the model folder again"
        ) from None


def _from_vocab_and_merges(folder: Path) -> tokenizers.Tokenizer:
    vocab = cast(dict[str, int], read_json(folder / "vocab.json"))
    merges: list[tuple[str, str]] = []
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, _, right = line.partition(" ")
        if left not in vocab or right not in vocab or left + right not in vocab:
            raise ModelFolderError(
                f"merges.txt line {number} in {str(folder)!r} does not fit vocab.json: {line!r}",
                "fetch both files again from one model",
            )
        merges.append((left, right))
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    cut = pre_tokenizers.Split(tokenizers.Regex(QWEN2_PATTERN), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    stages = pre_tokenizers.Sequence([cut, level])
    backend.normalizer = normalizers.NFC()  # pyright: ignore[reportAttributeAccessIssue]
    backend.pre_tokenizer = stages  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return backend


def _added_token(token_id: int, entry: Mapping[str, Any]) -> AddedToken:
    names = ("special", "normalized", "lstrip", "rstrip", "single_word")
    return AddedToken(
        token_id, str(entry["content"]), **{name: bool(entry.get(name)) for name in names}
    )


def _configured_added(folder: Path) -> list[AddedToken]:
    """Added tokens that `tokenizer_config.json` describes, or that `added_tokens.json` only names."""
    config = read_json(folder / "tokenizer_config.json")
    decoder = cast(Mapping[str, Mapping[str, Any]], config.get("added_tokens_decoder") or {})
    found = {int(key): _added_token(int(key), entry) for key, entry in decoder.items()}
    for content, token_id in read_json(folder / "added_tokens.json").items():
        found.setdefault(int(token_id), AddedToken(int(token_id), content))
    return list(found.values())


def _merge_added(first: Sequence[AddedToken], second: Sequence[AddedToken]) -> list[AddedToken]:
    """`second` completes `first`; one text with two ids is an error."""
    merged = {token.content: token for token in first}
    for token in second:
        if merged.setdefault(token.content, token).id != token.id:
            raise ModelFolderError(
                f"the token {token.content!r} has id {merged[token.content].id} and id {token.id}",
                "tokenizer.json and tokenizer_config.json must come from one model",
            )
    return list(merged.values())
