"""verify/constraints: does a text keep the constraints its writer was given? One exact parser for each kind.

A constraint is a mapping, e.g. `{"kind": "words", "relation": "at most", "count": 20}`; `KINDS` lists the kinds and
their parameters. Words are runs of letters and digits, joined by inner apostrophes and hyphens; lines are the lines
that are not blank; paragraphs are parted by blank lines; comparisons of text ignore case unless the kind is `case`.
A constraint that is not in the table is the problem's fault, not the answer's: ConfigError.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ponder.core.errors import ConfigError
from ponder.core.types import Verdict
from ponder.verify.answers import read_json
from ponder.verify.language import check_language
from ponder.verify.numbers import clip

MAX_LENGTH = 100_000
"""Characters; a longer answer is undecided."""
RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "exactly": lambda found, count: found == count,
    "at least": lambda found, count: found >= count,
    "at most": lambda found, count: found <= count,
    "less than": lambda found, count: found < count,
    "more than": lambda found, count: found > count,
}
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Characters without width, which would split a word that is forbidden or counted."""
_RUN = re.compile(r"\w+")
_END = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]*_]*+(?=\s|$)|[。！？]++[”’」』）]*+")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'])(?:[A-Za-z]|[A-Za-z]\.[A-Za-z.]+|Mrs?|Ms|Dr|St|[JS]r|Prof|Inc|Ltd|Co|etc|vs|no|cf)\.$"
)
_BULLET = re.compile(r"\*[^*]|-(?!-)")
_FENCE = re.compile(r"\s*```[A-Za-z]*\n(.*?)\n?```\s*", re.DOTALL)

Finding = tuple[bool | None, str]
"""Kept, broken, or None for not decided; and what was found."""


def check_constraints(answer: str, constraints: Sequence[Mapping[str, Any]]) -> Verdict:
    """Right when every constraint is kept; the reason names the first that is broken, or what was found for each."""
    text = _UNSEEN.sub("", answer).strip()
    checks = [_bound(constraint) for constraint in constraints]
    if not text:
        return Verdict("wrong", "the answer is empty")
    if len(text) > MAX_LENGTH:
        return Verdict("undecided", f"longer than {MAX_LENGTH} characters")
    found = [(kind, *check(text)) for kind, check in checks]
    for kind, kept, what in found:
        if kept is False:
            return Verdict("wrong", f"{kind}: {what}")
    for kind, kept, what in found:
        if kept is None:
            return Verdict("undecided", f"{kind}: {what}")
    return Verdict("right", clip("; ".join(what for _, _, what in found), 200).strip("'\""))


def words(text: str) -> list[str]:
    """The words of a text, as every kind here counts them."""
    return _WORD.findall(text)


def _bound(constraint: Mapping[str, Any]) -> tuple[str, Callable[[str], Finding]]:
    """The check with its parameters, each of them honoured. Raises ConfigError."""
    kind = constraint.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"unknown constraint kind {kind!r}", f"known kinds: {', '.join(KINDS)}")
    check, parameters = KINDS[kind]
    given = {name: value for name, value in constraint.items() if name != "kind"}
    wanted = {name.rstrip("?"): type_ for name, type_ in parameters.items()}
    missing = [name for name in parameters if not name.endswith("?") and name not in given]
    if missing or not set(given) <= set(wanted):
        raise ConfigError(
            f"constraint {kind!r} has parameters {sorted(given)}",
            f"it takes {', '.join(parameters) or 'none'} (? means it may be left out)",
        )
    for name, value in given.items():
        if not isinstance(value, wanted[name]) or (wanted[name] is int and isinstance(value, bool)):
            raise ConfigError(
                f"constraint {kind!r} has {name} {value!r}", f"it must be a {wanted[name].__name__}"
            )
        if (value in ([], "") and f"{name}?" not in parameters) or (
            wanted[name] is list and not all(isinstance(one, str) and one for one in given[name])
        ):
            raise ConfigError(
                f"constraint {kind!r} has {name} {value!r}",
                "it must hold texts, none of them empty",
            )
    if given.get("relation", "exactly") not in RELATIONS:
        raise ConfigError(
            f"constraint {kind!r} has relation {given['relation']!r}",
            f"known relations: {', '.join(RELATIONS)}",
        )
    return kind, lambda text: check(text, **given)


def _lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _paragraphs_of(text: str, separator: str | None = None) -> list[str]:
    """`separator` is a line such as `***`; blank lines part the paragraphs without one."""
    parts = text.split(separator) if separator else re.split(r"\n\s*\n", text)
    return [part for part in parts if part.strip()]


def _counter(noun: str, number: Callable[[str, Any], int]) -> Callable[..., Finding]:
    """The check of how many there are; `number` gets the text and the kind's own parameter, where it has one."""

    def check(text: str, relation: str, count: int, **more: Any) -> Finding:
        found = number(text, next(iter(more.values()), None))
        told = f"{found} {noun.format(**more)}, {relation} {count} wanted"
        return RELATIONS[relation](found, count), told

    return check


def _unless(wrong: Sequence[str], broken: str, fine: str) -> Finding:
    """Kept when nothing is wrong; else the first that is."""
    return not wrong, broken.format(clip(wrong[0])) if wrong else fine


def _sentences(text: str, relation: str, count: int) -> Finding:
    """Every end mark counts, but one after an abbreviation may or may not end a sentence; then both must agree."""
    most = least = 0
    for line in _lines_of(text):
        ends = list(_END.finditer(line))
        sure = [
            end
            for end in ends
            if end.end() == len(line)
            or (
                not _ABBREVIATION.search(line[max(0, end.start() - 12) : end.start() + 1])
                and not line[end.end() : end.end() + 4].lstrip()[:1].islower()
            )
        ]
        tail = 1 if _WORD.search(line[ends[-1].end() if ends else 0 :]) else 0
        most, least = most + len(ends) + tail, least + len(sure) + (tail if ends else 0)
    kept = {RELATIONS[relation](number, count) for number in range(least, most + 1)}
    shown = f"{least}" if least == most else f"{least} to {most}"
    what = f"{shown} sentences, {relation} {count} wanted"
    return (kept == {True}) if len(kept) == 1 else None, what


def _num_highlights(text: str) -> int:
    marked = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", text)
    return sum(1 for pair in marked if "".join(pair).strip())


def _contains(text: str, phrases: list[str]) -> Finding:
    missing = [phrase for phrase in phrases if phrase.lower() not in text.lower()]
    return _unless(missing, "{} is missing", "every phrase is there")


def _uses(text: str, words: list[str]) -> Finding:
    have = {word.lower() for word in _WORD.findall(text)}
    missing = [word for word in words if word.lower() not in have]
    return _unless(missing, "the word {} is missing", "every word is there")


def _forbids(text: str, words: list[str]) -> Finding:
    hits = [w for w in words if re.search(rf"(?<!\w){re.escape(w)}(?!\w)", text, re.IGNORECASE)]
    return _unless(hits, "{} is forbidden", "no forbidden word")


def _without(text: str, characters: str) -> Finding:
    hits = [character for character in characters if character.lower() in text.lower()]
    return _unless(hits, "{} occurs", f"none of {clip(characters)}")


def _case(text: str, case: str) -> Finding:
    if case not in ("upper", "lower", "title"):
        raise ConfigError(f"constraint 'case' has case {case!r}", "known: upper, lower, title")
    if case == "title":
        kept = all(not w[0].isalpha() or w[0].isupper() for w in words(text))
    else:
        kept = text.isupper() if case == "upper" else text.islower()
    return kept, f"{'all' if kept else 'not all'} in {case} case"


def _starts_with(text: str, wanted: str) -> Finding:
    kept = text.lower().startswith(wanted.strip().lower())
    return kept, f"{'starts' if kept else 'does not start'} with {clip(wanted)}"


def _ends_with(text: str, wanted: str) -> Finding:
    kept = text.strip('"').rstrip().lower().endswith(wanted.strip().lower())
    return kept, f"{'ends' if kept else 'does not end'} with {clip(wanted)}"


def _each_line(text: str, wanted: str) -> Finding:
    wrong = [line for line in _lines_of(text) if not line.lower().startswith(wanted.lower())]
    return _unless(wrong, "the line {}", f"each line: {clip(wanted)}")


def _word_length(text: str, relation: str, count: int) -> Finding:
    wrong = [word for word in words(text) if not RELATIONS[relation](len(word), count)]
    return _unless(wrong, f"{{}} has not {relation} {count} letters", "word lengths fit")


def _sorted(text: str, by: str = "words") -> Finding:
    """In alphabetical order; `by` is words, items or lines."""
    splits: dict[str, Callable[[str], list[str]]] = {
        "words": words, "items": lambda whole: whole.removesuffix(".").split(","), "lines": _lines_of,
    }  # fmt: skip
    if by not in splits:
        raise ConfigError(f"constraint 'sorted' has by {by!r}", f"known: {', '.join(splits)}")
    parts = [part.strip().lower() for part in splits[by](text)]
    late = [b for a, b in itertools.pairwise(parts) if b < a]
    return _unless(late, "{} comes too late", "in order")


def _no_repeats(text: str) -> Finding:
    twice = [word for word, n in Counter(word.lower() for word in words(text)).items() if n > 1]
    return _unless(twice, "{} occurs twice", "no word twice")


def _first_word(text: str, paragraph: int, word: str) -> Finding:
    parts = _paragraphs_of(text)
    if not 1 <= paragraph <= len(parts):
        return False, f"no paragraph {paragraph}"
    first = next(iter(words(parts[paragraph - 1])), "")
    return first.lower() == word.lower(), f"paragraph {paragraph} starts with {clip(first)}"


def _title(text: str) -> Finding:
    kept = any(found.strip() for found in re.findall(r"<<([^\n<>]+)>>", text))
    return kept, "a title in << >>" if kept else "no title in << >>"


def _postscript(text: str, mark: str) -> Finding:
    letters = [re.escape(letter) for letter in re.sub(r"[^A-Za-z]", "", mark)]
    pattern = r"^[ \t]*" + r"\.\s?".join(letters) + r"\b"
    kept = re.search(pattern, text, re.MULTILINE | re.IGNORECASE) is not None
    return kept, f"{'a' if kept else 'no'} postscript {mark!r}"


def _json(text: str) -> Finding:
    fenced = _FENCE.fullmatch(text)
    try:
        read_json(fenced[1] if fenced else text)
    except (ValueError, RecursionError) as error:
        return False, f"not JSON: {clip(str(error))}"
    return True, "JSON"


def _one_of(text: str, options: list[str]) -> Finding:
    found = [option for option in options if option.lower() in text.lower()]
    return len(found) == 1, f"{len(found)} of the {len(options)} options occur"


def _quoted(text: str) -> Finding:
    kept = len(text) > 1 and text[0] == text[-1] == '"'
    return kept, f"{'wrapped' if kept else 'not wrapped'} in double quotes"


def _two_responses(text: str, separator: str) -> Finding:
    parts = [part.strip() for part in text.split(separator) if part.strip()]
    return len(parts) == 2 and parts[0] != parts[1], f"{len(set(parts))} different responses"


_COUNT = {"relation": str, "count": int}
KINDS: dict[str, tuple[Callable[..., Finding], dict[str, type]]] = {
    "words": (
        _counter("words", lambda t, runs: len(_RUN.findall(t) if runs else words(t))), {**_COUNT, "runs?": bool}
    ),
    "lines": (_counter("lines", lambda t, _: len(_lines_of(t))), _COUNT),
    "sentences": (_sentences, _COUNT),
    "paragraphs": (
        _counter("paragraphs", lambda t, line: len(_paragraphs_of(t, line))), {**_COUNT, "separator?": str}
    ),
    "characters": (_counter("characters", lambda t, _: len(t)), _COUNT),
    "items": (_counter("items", lambda t, _: sum(map(bool, map(str.strip, t.removesuffix(".").split(","))))), _COUNT),
    "letters": (
        _counter("times {letter!r}", lambda t, letter: t.lower().count(letter.lower())), {"letter": str, **_COUNT}
    ),
    "occurs": (
        _counter("times {phrase!r}", lambda t, phrase: t.lower().count(phrase.lower())), {"phrase": str, **_COUNT}
    ),
    "contains": (_contains, {"phrases": list}),
    "uses": (_uses, {"words": list}),
    "forbids": (_forbids, {"words": list}),
    "without": (_without, {"characters": str}),
    "case": (_case, {"case": str}),
    "capitals": (_counter("words in capitals", lambda t, _: sum(map(str.isupper, words(t)))), _COUNT),
    "starts_with": (_starts_with, {"wanted": str}),
    "ends_with": (_ends_with, {"wanted": str}),
    "each_line_starts": (_each_line, {"wanted": str}),
    "word_length": (_word_length, _COUNT),
    "sorted": (_sorted, {"by?": str}),
    "no_repeats": (_no_repeats, {}),
    "first_word": (_first_word, {"paragraph": int, "word": str}),
    "bullets": (
        _counter("bullet points", lambda t, _: sum(map(bool, map(_BULLET.match, _lines_of(t))))), _COUNT
    ),
    "highlights": (_counter("highlighted parts", lambda t, _: _num_highlights(t)), _COUNT),
    "placeholders": (_counter("placeholders", lambda t, _: len(re.findall(r"\[[^\[\]]+\]", t))), _COUNT),
    "title": (_title, {}),
    "sections": (
        _counter("sections {mark!r}", lambda t, mark: len(re.findall(rf"(?<!\w){re.escape(mark)}\s?[0-9]+", t))),
        {"mark": str, **_COUNT},
    ),
    "postscript": (_postscript, {"mark": str}),
    "json": (_json, {}),
    "one_of": (_one_of, {"options": list}),
    "quoted": (_quoted, {}),
    "two_responses": (_two_responses, {"separator": str}),
    "language": (check_language, {"code": str}),
}  # fmt: skip
"""Kind → its check and its parameters; a name with ? may be left out."""
