"""verify/language: is a text written in this language? By script, and by common short words where scripts are shared.

Undecided where these do not tell: no guess is ever scored.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from ponder.core.errors import ConfigError

SCRIPTS: dict[str, str] = {
    **dict.fromkeys("en de es fr it pt nl sv fi vi sw tr pl ro id".split(), "LATIN"),
    **dict.fromkeys("ru bg uk".split(), "CYRILLIC"),
    **dict.fromkeys("ar fa ur".split(), "ARABIC"),
    **dict.fromkeys("hi mr ne".split(), "DEVANAGARI"),
    "kn": "KANNADA",
    "pa": "GURMUKHI",
    "gu": "GUJARATI",
    "ta": "TAMIL",
    "te": "TELUGU",
    "bn": "BENGALI",
    "ml": "MALAYALAM",
    "th": "THAI",
    "ko": "HANGUL",
    "ja": "HIRAGANA",
    "zh": "CJK",
    "he": "HEBREW",
    "el": "GREEK",
}
_COMMON: dict[str, str] = {
    "en": "the and of to is in that it for with was are this you not",
    "de": "der die und das ist nicht ein eine mit zu den von für auf ich",
    "es": "el la los que y es en un una por con para las del se",
    "fr": "le la les et est des que une dans pour qui sur pas du il",
    "it": "il di che è e la un una per non sono gli della del con",
    "pt": "o que e do da em um uma não para os com as dos é",
    "nl": "de het een en van is dat niet op te zijn voor met",
    "sv": "och att det som en är på för inte av jag ett med",
    "fi": "ja on ei että se hän oli mutta ovat kun niin",
    "vi": "và của là có không được cho một người trong các với",
    "sw": "na ya wa kwa ni katika la za kuwa hii hiyo ili",
    "tr": "ve bir bu için de da ile çok ne gibi",
    "pl": "i w na z się nie jest do że to jak",
    "ro": "și în este nu cu pe care un pentru din la",
    "id": "yang dan di itu dengan untuk tidak ini dari dalam",
    "ru": "и в не на что я с он как это по но все был",
    "bg": "и на да се за от не с е са че като това който",
    "uk": "і в не на що я з він як це та але й є",
    "ar": "من في على أن إلى التي هذا هذه كان ما عن مع",
    "fa": "و در به از که این را با است برای آن یک",
    "ur": "اور کے میں کی ہے سے کا کو نے یہ پر ہیں",
    "hi": "है के में की और का को से हैं नहीं यह पर एक",
    "mr": "आहे आणि मध्ये च्या नाही हा ही हे ते आहेत या एक",
    "ne": "छ र मा को हो लाई पनि छन् यो भएको",
}
COMMON = {code: frozenset(text.split()) for code, text in _COMMON.items()}
"""Short common words; a language is told by having more of its own in the text than any other of its script."""


def check_language(text: str, code: str) -> tuple[bool | None, str]:
    """Whether the letters of `text` are of the language `code`; None where that cannot be told."""
    if code not in SCRIPTS:
        raise ConfigError(f"unknown language {code!r}", f"known: {', '.join(sorted(SCRIPTS))}")
    counts = Counter(
        unicodedata.name(letter, "?").split()[0] for letter in text[:20_000] if letter.isalpha()
    )
    total = sum(counts.values())
    if total < 12:
        return None, f"only {total} letters"
    script = SCRIPTS[code]
    share = counts[script] / total
    if code == "ja":
        share = (counts[script] + counts["KATAKANA"] + counts["CJK"]) / total
    if share < 0.5 or (code == "ja" and not counts[script]):
        return False, f"{share:.0%} of the letters are {script.title()}"
    rivals = [other for other, its in SCRIPTS.items() if its == script]
    if len(rivals) == 1:
        if code == "zh" and counts["HIRAGANA"] + counts["KATAKANA"]:
            return None, "Chinese characters among Japanese letters"
        return True, f"{share:.0%} of the letters are {script.title()}"
    have = re.findall(r"\S+", re.sub(r"[^\w\s\u0300-\u0dff]", " ", text.lower()))
    scores = {other: sum(word in COMMON[other] for word in have) for other in rivals}
    best = max(value for other, value in scores.items() if other != code)
    shown = f"{scores[code]} common words of {code!r}, at most {best} of another language"
    if scores[code] >= 2 and scores[code] > best:
        return True, shown
    return (False if best >= 3 and best > 2 * scores[code] else None), shown
