"""Which language a page is written in."""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from copydesk.corpus._kernels import LanguageModel, load_kernels
from copydesk.corpus._signals import prose

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_READ: Final = 240
"""Characters of the sample: the time is linear in them, and a paragraph tells."""
_FEWEST_LETTERS: Final = 80
_SURE: Final = 0.9
_CLOSE: Final = 0.01
"""So near to that the kernel's sums, which are rounded otherwise, do not decide."""
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
    kernels = load_kernels()
    found = None if kernels is None else kernels.language(_model(), _encoded(sample))
    if found is None or abs(found[1] - _SURE) < _CLOSE:
        language, sure = _identifier().classify(sample)
    else:
        language, sure = _identifier().nb_classes[found[0]], found[1]
    return language if sure >= _SURE else None


def _encoded(sample: str) -> bytes:
    """As py3langid reads it."""
    if sample.isupper():
        sample = sample.lower()
    return unicodedata.normalize("NFC", sample).encode("utf-8", "surrogatepass")


@functools.cache
def _model() -> LanguageModel:
    """py3langid's tables for the kernel, which walks them in a tenth of the time."""
    identifier = _identifier()
    classes = identifier.nb_classes
    return LanguageModel.of(
        # A copy: NumPy asks for large pages, which halves the time of such a walk.
        moves=np.array(identifier.tk_nextmove, dtype=np.uint32),
        rows=np.asarray(identifier.tk_row, dtype=np.uint16),
        features=np.asarray(identifier.tk_output, dtype=np.int32),
        weights=np.asarray(identifier.nb_ptc, dtype=np.float16),
        priors=np.asarray(identifier.nb_pc, dtype=np.float32),
        first=np.array([classes.index(name) for name in classes], dtype=np.int64),
    )


def usual_languages(languages: Iterable[str | None]) -> frozenset[str]:
    """Those that at least a tenth of the recognised pages are in."""
    counts = Counter(language for language in languages if language)
    return frozenset(
        name for name, count in counts.items() if count >= LEAST_SHARE * counts.total()
    )
