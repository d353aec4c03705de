"""verify/constraints: does a text keep the constraints its writer was given? One exact parser for each kind.

A constraint is a mapping, e.g. `{"kind": "words", "relation": "at most", "count": 20}`; `KINDS` lists the kinds and
their parameters. Words are runs of letters and digits, joined by inner apostrophes and hyphens; lines are the lines
that are not blank; paragraphs are parted by blank lines; comparisons of text ignore case unless the kind is `case`.
A constraint that is not in the table is the problem's fault, not the answer's: ConfigError.
"""

from __future__ import annotations

import itertools
import re
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


def _counted(found: int, relation: str, count: int, noun: str) -> Finding:
    return RELATIONS[relation](found, count), f"{found} {noun}, {relation} {count} wanted"


def _words(text: str, relation: str, count: int, runs: bool = False) -> Finding:
    """`runs` counts runs of word characters, as IFEval does: `don't` is two."""
    return _counted(len(_RUN.findall(text) if runs else words(text)), relation, count, "words")


def _lines(text: str, relation: str, count: int) -> Finding:
    return _counted(len(_lines_of(text)), relation, count, "lines")


def _lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


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


def _paragraphs(text: str, relation: str, count: int, separator: str = "") -> Finding:
    """`separator` is a line such as `***`; blank lines part the paragraphs without one."""
    parts = text.split(separator) if separator else re.split(r"\n\s*\n", text)
    return _counted(sum(1 for part in parts if part.strip()), relation, count, "paragraphs")


def _characters(text: str, relation: str, count: int) -> Finding:
    return _counted(len(text), relation, count, "characters")


def _items(text: str, relation: str, count: int) -> Finding:
    """Items are parted by commas on one line."""
    parts = [part for part in text.removesuffix(".").split(",") if part.strip()]
    return _counted(len(parts), relation, count, "items")


def _letters(text: str, letter: str, relation: str, count: int) -> Finding:
    return _counted(text.lower().count(letter.lower()), relation, count, f"times {letter!r}")


def _occurs(text: str, phrase: str, relation: str, count: int) -> Finding:
    return _counted(text.lower().count(phrase.lower()), relation, count, f"times {phrase!r}")


def _contains(text: str, phrases: list[str]) -> Finding:
    missing = [phrase for phrase in phrases if phrase.lower() not in text.lower()]
    return not missing, f"{clip(missing[0])} is missing" if missing else "every phrase is there"


def _uses(text: str, words: list[str]) -> Finding:
    have = {word.lower() for word in _WORD.findall(text)}
    missing = [word for word in words if word.lower() not in have]
    return not missing, f"the word {missing[0]!r} is missing" if missing else "every word is there"


def _forbids(text: str, words: list[str]) -> Finding:
    hits = [w for w in words if re.search(rf"(?<!\w){re.escape(w)}(?!\w)", text, re.IGNORECASE)]
    return not hits, f"{hits[0]!r} is forbidden" if hits else "no forbidden word"


def _without(text: str, characters: str) -> Finding:
    hits = [character for character in characters if character.lower() in text.lower()]
    return not hits, f"{hits[0]!r} occurs" if hits else f"none of {clip(characters)}"


def _case(text: str, case: str) -> Finding:
    if case not in ("upper", "lower", "title"):
        raise ConfigError(f"constraint 'case' has case {case!r}", "known: upper, lower, title")
    if case == "title":
        kept = all(not w[0].isalpha() or w[0].isupper() for w in words(text))
    else:
        kept = text.isupper() if case == "upper" else text.islower()
    return kept, f"{'all' if kept else 'not all'} in {case} case"


def _capitals(text: str, relation: str, count: int) -> Finding:
    found = sum(1 for word in words(text) if word.isupper())
    return _counted(found, relation, count, "words in capitals")


def _starts_with(text: str, wanted: str) -> Finding:
    kept = text.lower().startswith(wanted.strip().lower())
    return kept, f"{'starts' if kept else 'does not start'} with {clip(wanted)}"


def _ends_with(text: str, wanted: str) -> Finding:
    kept = text.strip('"').rstrip().lower().endswith(wanted.strip().lower())
    return kept, f"{'ends' if kept else 'does not end'} with {clip(wanted)}"


def _each_line(text: str, wanted: str) -> Finding:
    wrong = [line for line in _lines_of(text) if not line.lower().startswith(wanted.lower())]
    return not wrong, f"the line {clip(wrong[0])}" if wrong else f"each line: {clip(wanted)}"


def _word_length(text: str, relation: str, count: int) -> Finding:
    wrong = [word for word in words(text) if not RELATIONS[relation](len(word), count)]
    return not wrong, f"{wrong[0]!r} has {len(wrong[0])} letters" if wrong else "word lengths fit"


def _sorted(text: str, by: str = "words") -> Finding:
    """In alphabetical order; `by` is words, items or lines."""
    splits: dict[str, Callable[[str], list[str]]] = {
        "words": words,
        "items": lambda whole: whole.removesuffix(".").split(","),
        "lines": _lines_of,
    }
    if by not in splits:
        raise ConfigError(f"constraint 'sorted' has by {by!r}", f"known: {', '.join(splits)}")
    parts = [part.strip().lower() for part in splits[by](text)]
    late = [b for a, b in itertools.pairwise(parts) if b < a]
    return not late, f"{clip(late[0])} comes too late" if late else "in order"


def _no_repeats(text: str) -> Finding:
    seen: set[str] = set()
    for word in (found.lower() for found in words(text)):
        if word in seen:
            return False, f"{word!r} occurs twice"
        seen.add(word)
    return True, "no word twice"


def _first_word(text: str, paragraph: int, word: str) -> Finding:
    parts = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    if not 1 <= paragraph <= len(parts):
        return False, f"no paragraph {paragraph}"
    first = next(iter(words(parts[paragraph - 1])), "")
    return first.lower() == word.lower(), f"paragraph {paragraph} starts with {clip(first)}"


def _bullets(text: str, relation: str, count: int) -> Finding:
    found = sum(1 for line in _lines_of(text) if re.match(r"\*[^*]|-(?!-)", line))
    return _counted(found, relation, count, "bullet points")


def _highlights(text: str, relation: str, count: int) -> Finding:
    marked = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", text)
    found = sum(1 for pair in marked if "".join(pair).strip())
    return _counted(found, relation, count, "highlighted parts")


def _placeholders(text: str, relation: str, count: int) -> Finding:
    return _counted(len(re.findall(r"\[[^\[\]]+\]", text)), relation, count, "placeholders")


def _title(text: str) -> Finding:
    kept = any(found.strip() for found in re.findall(r"<<([^\n<>]+)>>", text))
    return kept, "a title in << >>" if kept else "no title in << >>"


def _sections(text: str, mark: str, relation: str, count: int) -> Finding:
    found = re.findall(rf"(?<!\w){re.escape(mark)}\s?[0-9]+", text)
    return _counted(len(found), relation, count, f"sections {mark!r}")


def _postscript(text: str, mark: str) -> Finding:
    letters = [re.escape(letter) for letter in re.sub(r"[^A-Za-z]", "", mark)]
    kept = re.search(
        r"^[ \t]*" + r"\.\s?".join(letters) + r"\b", text, re.MULTILINE | re.IGNORECASE
    )
    return kept is not None, f"{'a' if kept else 'no'} postscript {mark!r}"


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
    "words": (_words, {**_COUNT, "runs?": bool}),
    "lines": (_lines, _COUNT),
    "sentences": (_sentences, _COUNT),
    "paragraphs": (_paragraphs, {**_COUNT, "separator?": str}),
    "characters": (_characters, _COUNT),
    "items": (_items, _COUNT),
    "letters": (_letters, {"letter": str, **_COUNT}),
    "occurs": (_occurs, {"phrase": str, **_COUNT}),
    "contains": (_contains, {"phrases": list}),
    "uses": (_uses, {"words": list}),
    "forbids": (_forbids, {"words": list}),
    "without": (_without, {"characters": str}),
    "case": (_case, {"case": str}),
    "capitals": (_capitals, _COUNT),
    "starts_with": (_starts_with, {"wanted": str}),
    "ends_with": (_ends_with, {"wanted": str}),
    "each_line_starts": (_each_line, {"wanted": str}),
    "word_length": (_word_length, _COUNT),
    "sorted": (_sorted, {"by?": str}),
    "no_repeats": (_no_repeats, {}),
    "first_word": (_first_word, {"paragraph": int, "word": str}),
    "bullets": (_bullets, _COUNT),
    "highlights": (_highlights, _COUNT),
    "placeholders": (_placeholders, _COUNT),
    "title": (_title, {}),
    "sections": (_sections, {"mark": str, **_COUNT}),
    "postscript": (_postscript, {"mark": str}),
    "json": (_json, {}),
    "one_of": (_one_of, {"options": list}),
    "quoted": (_quoted, {}),
    "two_responses": (_two_responses, {"separator": str}),
    "language": (check_language, {"code": str}),
}
"""Kind → its check and its parameters; a name with ? may be left out."""
