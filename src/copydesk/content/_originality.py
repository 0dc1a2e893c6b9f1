"""Which runs of words a draft shares, word for word, with the pages that a model was trained on.

A run is exact on folded words: case, punctuation and spacing do not count. The search hashes
every window of n words of both texts at once, doubles n while any window is shared and then
halves its way to the longest, keeping only the places that still match. Its cost is a few passes
over the training words, however repetitive they are, and each match is verified on the words.

Shape: T training words, with a stop after each document.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np

from copydesk.content._folding import Folded, Word, fold_words
from copydesk.content._hashing import Hashes, Ints, WordHashes

_STOP = 0
"""Stands after each document; no draft word has it, so that no run crosses documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbatimRun:
    """A run of words that a draft shares with a training document."""

    words: int
    start: int
    """First character of the run in the draft."""
    end: int
    """One past its last character."""
    document: str
    """Id of the training document; the earliest one when several hold the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    draft_at: int
    training_at: int
    length: int


class TrainingIndex:
    """The words of a client's training pages, ready to be searched for what a draft repeats."""

    def __init__(self, *, words_T: Ints, vocabulary: dict[str, int], documents: list[str]) -> None:
        """Use `build`."""
        self._vocabulary = vocabulary
        self._documents = documents
        self._stops = np.flatnonzero(words_T == _STOP)
        self._training = WordHashes(words_T)
        self._windows: dict[int, Hashes] = {}

    @classmethod
    def build(cls, texts: Iterable[tuple[str, str]]) -> Self:
        """Index `(document id, text)` pairs."""
        vocabulary: dict[str, int] = {}
        documents: list[str] = []
        numbers: list[list[int]] = []
        for document, text in texts:
            documents.append(document)
            found = [vocabulary.setdefault(w, len(vocabulary) + 1) for w in fold_words(text)]
            numbers.append([*found, _STOP])
        words_T = np.fromiter(chain.from_iterable(numbers), dtype=np.int64)
        return cls(words_T=words_T, vocabulary=vocabulary, documents=documents)

    def longest_run(self, text: str) -> VerbatimRun | None:
        """The longest run that `text` shares with any document; the first of equals.

        None when not one word is shared.
        """
        return next(self._runs(text, at_least=1), None)

    def runs(self, text: str, *, at_least: int) -> tuple[VerbatimRun, ...]:
        """All runs of at least so many words, in the text's order.

        The longest is taken first, then the longest in what stands before and behind it.
        """
        return tuple(sorted(self._runs(text, at_least=at_least), key=lambda run: run.start))

    def shared_share(self, text: str, *, words: int) -> float:
        """Share of the text's runs of so many words that stand in a document, 0 to 1.

        The share of a text that is too short for one is 0.
        """
        draft, _ = self._numbered(text)
        places_D = np.arange(len(draft.words) - words + 1, dtype=np.int64)
        if len(places_D) == 0:
            return 0.0
        if words not in self._windows:
            places_T = np.arange(len(self._training.words) - words + 1, dtype=np.int64)
            self._windows[words] = np.unique(self._training.windows(places_T, words))
        known = self._windows[words]
        hashes = draft.windows(places_D, words)
        if len(known) == 0:
            return 0.0
        nearest = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        return float((known[nearest] == hashes).mean())

    def _numbered(self, text: str) -> tuple[WordHashes, list[Word]]:
        """A text's words as the index numbers them, and where they stand."""
        words = Folded(text).words()
        unknown = len(self._vocabulary) + 1
        numbers = (self._vocabulary.get(word.text, unknown) for word in words)
        return WordHashes(np.fromiter(numbers, dtype=np.int64, count=len(words))), words

    def _runs(self, text: str, *, at_least: int) -> Iterator[VerbatimRun]:
        assert at_least >= 1
        draft, words = self._numbered(text)
        search = _Search(draft=draft, training=self._training)
        for match in search.matches(at_least):
            document = int(np.searchsorted(self._stops, match.training_at))
            yield VerbatimRun(
                words=match.length,
                start=words[match.draft_at].start,
                end=words[match.draft_at + match.length - 1].end,
                document=self._documents[document],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    draft: WordHashes
    training: WordHashes

    def matches(self, at_least: int) -> Iterator[_Match]:
        """Maximal shared runs of at least so many words, the longest of the whole first."""
        everything = (0, len(self.draft.words))
        places = np.arange(len(self.training.words), dtype=np.int64)
        places = self._shared(at_least, everything, places)
        pending = [everything]
        while pending:
            start, stop = pending.pop()
            match = self._longest(at_least, (start, stop), places)
            if match is not None:
                yield match
                pending += [(match.draft_at + match.length, stop), (start, match.draft_at)]

    def _longest(self, at_least: int, part: tuple[int, int], places: Ints) -> _Match | None:
        """The longest run of a part of the draft, at one of the training places."""
        longest, too_long = 0, part[1] - part[0] + 1
        length = at_least
        while longest < length < too_long:
            left = self._shared(length, part, places)
            if len(left):
                longest, places = length, left
            else:
                too_long = length
            doubled = 2 * longest if too_long > 2 * longest else (longest + too_long) // 2
            length = doubled if longest else too_long
        return self._verified(longest, part, places) if longest else None

    def _shared(self, length: int, part: tuple[int, int], places: Ints) -> Ints:
        """Those of the training places whose window of `length` words the part has too."""
        start, stop = part
        if stop - start < length:
            return places[:0]
        wanted = np.unique(self.draft.windows(np.arange(start, stop - length + 1), length))
        places = places[places + length <= len(self.training.words)]
        hashes = self.training.windows(places, length)
        nearest = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        return places[wanted[nearest] == hashes]

    def _verified(self, length: int, part: tuple[int, int], places: Ints) -> _Match | None:
        """The part's first window that stands at a training place, compared word for word."""
        _, firsts = np.unique(self.training.windows(places, length), return_index=True)
        windows = {
            self.training.words[place : place + length].tobytes(): int(place)
            for place in places[firsts]
        }
        for at in range(part[0], part[1] - length + 1):
            place = windows.get(self.draft.words[at : at + length].tobytes())
            if place is not None:
                return _Match(draft_at=at, training_at=place, length=length)
        return None
