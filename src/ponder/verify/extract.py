"""verify/extract: the final answer of a reply: the last box, the text after the last answer mark, or its last line."""

from __future__ import annotations

import re

MAX_REPLY = 400_000
_BOX = re.compile(r"\\(?:boxed|fbox|framebox) *(?=[{0-9A-Za-z\\-])")
_WRAPPING = re.compile(r"\\(?:text|math)(?:bf|it|rm|tt)? *\{([^{}]*)\}|\\[()\[\]]|\$")
_OPENING = re.compile(r"^(?:so|thus|hence|then|therefore)\b[\s,:]+(?=\S)", re.IGNORECASE)
_MARK = re.compile(
    r"####[ \t]*|(?:final |correct |best )?answer(?: is|:)+(?: the)?(?: option)?:?|(?:答案|故选)(?:是|为|：|:)*",
    re.IGNORECASE,
)


def final_answer(reply: str) -> str | None:
    """The part of a reply that counts as its answer; None when there is none. Several boxes in one line all count."""
    text = reply.strip()
    if not text or len(text) > MAX_REPLY:
        return None
    boxes = _boxes(text)
    if boxes is not None:
        return boxes or None
    marks = list(_MARK.finditer(text))
    if marks:
        rest = text[marks[-1].end() :].strip().splitlines()
        if rest:
            return _bare(rest[0])
    return _bare(text.splitlines()[-1])


def _boxes(text: str) -> str | None:
    """What the boxes of the last line with a box hold, joined by commas when they differ; None without a box."""
    found = list(_BOX.finditer(text))
    if not found:
        return None
    start = text.rfind("\n", 0, found[-1].start()) + 1
    contents: list[str] = []
    for box in found[-8:]:
        if box.start() < start:
            continue
        content = _braced(text, box.end())
        if content is None:
            return ""
        inner = _BOX.match(content)  # a box that holds another and nothing else is no second answer
        if inner and inner.end() + 2 + len(_braced(content, inner.end()) or "") == len(content):
            continue
        if content not in contents:
            contents.append(content)
    return ", ".join(contents)


def _braced(text: str, at: int) -> str | None:
    """The content of the braces that open at `at`, or the one token there."""
    if text[at : at + 1] != "{":
        token = re.compile(r"\\?[A-Za-z]+|-?[0-9.,]*[0-9]|.").match(text, at)
        return token[0] if token else None
    depth = 0
    for place in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at):
        depth += {"{": 1, "}": -1}.get(place[0], 0)
        if not depth:
            return text[at + 1 : place.start()].strip()
    return None


def unwrapped(text: str) -> str:
    """Without `\\text{…}` and the like around words, and without the marks of formulas."""
    return _WRAPPING.sub(r"\1", text).strip()


def _bare(line: str) -> str:
    """Without emphasis, `Therefore,` at the start, surrounding spaces, and the full stop at the end."""
    text = _OPENING.sub("", re.sub(r"^[*_`\s:：]+|[*_`\s]+$", "", line))
    return text.removesuffix("。").removesuffix(".").rstrip("*_` ")
