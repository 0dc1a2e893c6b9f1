"""Which language a text is in, told by its commonest words; enough to refuse a wrong brief.

Function words are the classic sign: a dozen of them make a third of any prose (Zipf). Texts that
give too little of it have no answer.
"""

import re
from typing import Final

from copydesk.content._folding import fold_words

_COMMON: Final = {
    "en": "the of and to in is that for it with as was on are be this have from or by not "
    "you at we",
    "de": "der die das und ist nicht ein eine mit auf fur von zu den im sich auch wie dem es "
    "des wir",
    "fr": "le la les des est et une dans pour que qui pas sur avec au du ne vous nous ce sont plus",
    "es": "el la los las de que y en un una es por con para no se del al como mas su lo pero son",
    "it": "il di che la e un una per non sono con del della le dei nel alla gli si come piu anche",
    "pt": "o a os as de que e um uma do da em para com nao no na por mais dos das como mas ao se",
    "nl": "de het een en van is dat niet met op voor zijn te ook aan er maar bij dit wij je naar",
    "pl": "i w na z do nie sie to jest ze jak za co po od dla przez ale oraz tym czy jego",
}  # fmt: skip
_NAMES: Final = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "pt": "Portuguese", "nl": "Dutch", "pl": "Polish", "ru": "Cyrillic script",
    "zh": "Chinese or Japanese characters", "ar": "Arabic script", "el": "Greek", "ko": "Korean",
}  # fmt: skip
_SCRIPTS: Final = {
    "ru": re.compile("[\u0400-\u04ff]"),
    "zh": re.compile("[\u3040-\u30ff\u3400-\u9fff]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
}
# Single letters are words in one language and marks in another.
_SETS: Final = {
    code: frozenset(word for word in words.split() if len(word) > 1)
    for code, words in _COMMON.items()
}
_LEAST_HITS: Final = 3
_LEAD: Final = 1.5
"""How far the winner must be ahead, since neighbours share words (`la`, `de`)."""
_MOST_WORDS: Final = 2000


def language_of(text: str) -> str | None:
    """ISO 639-1 code of a text's language; None where it is too short or none is ahead.

    Of other scripts than Latin the script decides, and the code is that of its commonest language.
    """
    head = text[: _MOST_WORDS * 8]
    letters = sum(map(str.isalpha, head))
    for code, script in _SCRIPTS.items():
        if letters and len(script.findall(head)) > letters / 2:
            return code
    # Accents fold away: "für" counts as "fur".
    words = [re.sub("[\u0300-\u036f]", "", word) for word in fold_words(head)[:_MOST_WORDS]]
    hits = {code: sum(word in common for word in words) for code, common in _SETS.items()}
    first, second = sorted(hits, key=lambda code: hits[code], reverse=True)[:2]
    clear = hits[first] >= _LEAST_HITS and hits[first] >= _LEAD * hits[second]
    return first if clear else None


def language_name(code: str) -> str:
    """What to call a language in a sentence."""
    return _NAMES[code]
