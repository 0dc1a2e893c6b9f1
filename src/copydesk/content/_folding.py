"""Text folded for comparison, with the way back to the original's characters.

Folded text differs from the original in what a reader does not count as a difference: case,
curly or straight apostrophes, kinds of hyphen and space, composed or decomposed accents, and
characters that are not seen (soft hyphens, zero-width spaces).
"""

import re
import unicodedata
from dataclasses import dataclass

_SAME = {
    **dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032\uff07", "'"),
    **dict.fromkeys("\u2010\u2011\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f", " "),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
}

# Chinese and Japanese are written without spaces: each of their characters counts as a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W_{UNSPACED}][\u0300-\u036f]*"
WORD = re.compile(rf"[{UNSPACED}]|(?:{_LETTER})+(?:'(?:{_LETTER})+)*")
"""A word of folded text: letters and digits, apostrophes inside it."""

# Nobody reads an address as prose: a banned word in one is not the writer's word.
_ADDRESS = re.compile(r"(?<=\]\()[^\s()]*(?:\([^\s()]*\)[^\s()]*)*|https?://[^\s<>)\]]+")


class _Folds(dict[int, str]):
    """Code point -> its folded text, worked out once for each character met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        same = _SAME.get(character)
        folded = unicodedata.normalize("NFD", character).casefold() if same is None else same
        self[code] = folded
        return folded


_FOLDS = _Folds()


def fold(text: str) -> str:
    """`text` folded for comparison, addresses blanked out.

    Each character folds by itself, whatever stands beside it.
    """
    folded = text.lower() if text.isascii() else text.translate(_FOLDS)
    return _ADDRESS.sub(lambda match: " " * len(match.group()), folded)


def fold_words(text: str) -> list[str]:
    """The folded words of a text in order, as `Folded.words` gives them."""
    return WORD.findall(fold(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A folded word and where it stands in the original text."""

    text: str
    start: int
    end: int


class Folded:
    """A text, its folded form, and the map from the one's positions to the other's."""

    __slots__ = ("_ends", "_starts", "original", "text")

    def __init__(self, original: str) -> None:
        self.original = original
        self.text = fold(original)
        self._starts: list[int] | None = None
        self._ends: list[int] | None = None
        widths = [1] if original.isascii() else [len(_FOLDS[ord(char)]) for char in original]
        if any(width != 1 for width in widths):
            self._starts = [at for at, width in enumerate(widths) for _ in range(width)]
            self._ends = [at + 1 for at in self._starts]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's characters behind the non-empty folded span `start` to `end`."""
        if self._starts is None or self._ends is None:
            return start, end
        return self._starts[start], self._ends[end - 1]

    def words(self) -> list[Word]:
        """The words in order, with their places in the original."""
        found: list[Word] = []
        for match in WORD.finditer(self.text):
            start, end = self.span(*match.span())
            found.append(Word(text=match.group(), start=start, end=end))
        return found
