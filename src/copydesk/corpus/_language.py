"""Which language a page is written in."""

import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from copydesk.corpus._signals import prose

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_READ: Final = 240
"""Characters of the sample: the time is linear in them, and a paragraph tells."""
_FEWEST_LETTERS: Final = 80
_SURE: Final = 0.9
LEAST_SHARE: Final = 0.1
"""A language that a tenth of the pages are in is one that the client writes."""
_WORDS: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


@functools.cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def language_of(text: str) -> str | None:
    """ISO 639 code by py3langid; None where the text is too short or it is less than 90% sure.

    A stretch from the middle is read: pages begin with names and end with links.
    """
    middle = max(0, len(text) // 2 - _READ)
    sample = " ".join(_WORDS.findall(prose(text[middle : middle + 2 * _READ])))[:_READ]
    if len(sample) < _FEWEST_LETTERS:
        return None
    language, sure = _identifier().classify(sample)
    return language if sure >= _SURE else None


def usual_languages(languages: Iterable[str | None]) -> frozenset[str]:
    """Those that at least a tenth of the recognised pages are in."""
    counts = Counter(language for language in languages if language)
    return frozenset(
        name for name, count in counts.items() if count >= LEAST_SHARE * counts.total()
    )
