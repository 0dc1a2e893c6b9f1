"""A text measured: words, lines, repetition, and the sketch that near-duplicates are found by.

Everything is computed on the UTF-8 bytes, because a corpus is read at a thousand pages a second: by
kernels, and where there are none by NumPy, which finds the same. A word here is what stands between
blanks, without its punctuation and in ASCII lower case, with a letter or digit left; it differs
from `prose_words` in a few words of a page, and what is shown to people is counted by that one.

Shapes: B bytes, L lines with words, W words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from copydesk.corpus._kernels import Kernels, load_kernels
from copydesk.corpus._words import prose_lines, spaced_out

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

SHINGLE_WORDS: Final = 5
_ONE: Final = np.uint64(1)
_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE: Final = pow(_BASE, -1, 1 << 64)
_WORD_STEP: Final = np.uint64(0xD6E8FEB86659FD93)
_PLACE_BITS: Final = 17
_ADDRESS: Final = re.compile(r"https?://[^\s<>()\[\]]+")
_TARGET: Final = re.compile(r"\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)")
_TAG: Final = re.compile(r"</?[A-Za-z!][^<>\n]*>")
# Marks outside ASCII that stand at a word's edge, and what they are in ASCII.
_SPELLINGS: Final = (
    *(("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"'), ("\u00ab", '"')),
    *(("\u00bb", '"'), ("\u2013", " - "), ("\u2014", " - "), ("\u2026", "..."), ("\u2022", "*")),
    *(("\u00a0", " "), ("\u00b7", " ")),
)
_SPACE: Final = np.isin(np.arange(256), list(b" \t\n"))
_LETTER: Final = np.array([chr(b).isalpha() if b < 128 else True for b in range(256)])
_WORD: Final = np.array([chr(b).isalnum() if b < 128 else True for b in range(256)])
_KEPT: Final = _WORD | _SPACE
_ENDS: Final = np.isin(np.arange(256), list(b".!?\"':;)*_"))
"""What a finished line ends with: FineWeb's marks, and those of Markdown that may follow them."""
_BULLET: Final = np.isin(np.arange(256), list(b"-*+"))
_STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Gopher's eight (Rae et al. 2021, A.1.1)."""


def _byte_values() -> Hashes:
    """A fixed odd value for each byte (splitmix64), the same on every machine."""
    with np.errstate(over="ignore"):
        return mixed(np.arange(1, 257, dtype=np.uint64) * np.uint64(_BASE)) | _ONE


def mixed(values: Hashes) -> Hashes:
    """Spread the bits of each value over all 64 (the finaliser of splitmix64)."""
    values = values ^ (values >> np.uint64(30))  # a copy, which is worked on in place
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


_VALUES: Final = _byte_values()


class _Powers:
    """Powers of the base and of its inverse, as many as the longest text so far needs."""

    def __init__(self) -> None:
        self._up: Hashes = np.ones(1, dtype=np.uint64)
        self._down: Hashes = np.ones(1, dtype=np.uint64)

    def of(self, count: int) -> tuple[Hashes, Hashes]:
        if len(self._up) < count:
            size = 1 << count.bit_length()
            for name, base in (("_up", _BASE), ("_down", _INVERSE)):
                steps = np.full(size, base, dtype=np.uint64)
                steps[0] = 1
                setattr(self, name, np.cumprod(steps, dtype=np.uint64))
        return self._up, self._down


_POWERS: Final = _Powers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What the quality rules judge. Shares are from 0 to 1."""

    words: int
    mean_word_length: float
    """In characters."""
    symbols_per_word: float
    """Hashtags and ellipses."""
    alphabetic_words: float
    """Share of words with a letter."""
    stop_words: int
    """How many of Gopher's eight English ones occur."""
    lines: int
    """With at least one word."""
    bullet_lines: float
    ellipsis_lines: float
    punctuated_lines: float
    """Share that end with a mark."""
    short_lines: float
    """Share of 30 characters or fewer."""
    duplicate_lines: float
    """Share that an earlier line says word for word."""
    duplicate_line_characters: float
    newlines_per_word: float
    top_ngrams: Mapping[int, float]
    """n of 2 to 4 -> share of characters in the most frequent n-gram."""
    duplicate_ngrams: Mapping[int, float]
    """n of 5 to 10 -> share of characters in n-grams that occurred before; those above 5 only
    where that of 5 is over a tenth, which it bounds."""
    shingles: Hashes
    """Hashes of the 5-word runs, sorted, each once."""


class Counts(NamedTuple):
    """What signals are made of, in whole numbers; the order is that of `_measure.cpp`."""

    words: int
    characters: int
    """Of all words."""
    symbols: int
    lettered: int
    """Words with a letter."""
    stop_words: int
    newlines: int
    lines: int
    bullets: int
    dotted: int
    """Lines that end with an ellipsis."""
    punctuated: int
    brief: int
    repeated: int
    """Lines that an earlier one says."""
    repeated_bytes: int
    line_bytes: int
    top_2: int
    """Characters of the most frequent run of two words, all its occurrences together."""
    top_3: int
    top_4: int
    doubled_5: int
    """Characters in runs of five words that occurred before; -1 where they are not counted."""
    doubled_6: int
    doubled_7: int
    doubled_8: int
    doubled_9: int
    doubled_10: int


def without_code(text: str) -> str:
    """The text without fenced code."""
    return "\n".join(prose_lines(text)) if "```" in text or "~~~" in text else text


def _without_code(text: str, kernels: Kernels) -> str:
    """The same, where looking for it takes less."""
    return without_code(text) if kernels.may_hold_code(text) else text


def prose(text: str) -> str:
    """The words that a reader sees: no fenced code, link targets, addresses or tags."""
    text = without_code(text)
    if "](" in text:
        text = _TARGET.sub("] ", text)
    if "http" in text:
        text = _ADDRESS.sub(" ", text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    if not text.isascii():
        for mark, plain in _SPELLINGS:
            if mark in text:
                text = text.replace(mark, plain)
    return text


def measure(text: str) -> Signals:
    """Measure Markdown."""
    kernels = load_kernels()
    if kernels is None:
        found, shingles = counted(text)
    else:
        numbers, shingles = kernels.measure(_without_code(text, kernels), _STOPS)
        found = Counts(*numbers)
    words, lines = max(1, found.words), max(1, found.lines)
    characters = max(1, found.characters)
    return Signals(
        words=found.words,
        mean_word_length=characters / words,
        symbols_per_word=max(0, found.symbols) / words,
        alphabetic_words=found.lettered / words,
        stop_words=found.stop_words,
        lines=found.lines,
        bullet_lines=found.bullets / lines,
        ellipsis_lines=found.dotted / lines,
        punctuated_lines=found.punctuated / lines,
        short_lines=found.brief / lines,
        duplicate_lines=found.repeated / lines,
        duplicate_line_characters=found.repeated_bytes / max(1, found.line_bytes),
        newlines_per_word=found.newlines / words,
        top_ngrams={
            n: top / characters for n, top in ((2, found.top_2), (3, found.top_3), (4, found.top_4))
        },
        duplicate_ngrams={
            n: doubled / characters
            for n, doubled in enumerate(found[-6:], start=SHINGLE_WORDS)
            if doubled >= 0
        },
        shingles=shingles,
    )


def counted(text: str) -> tuple[Counts, Hashes]:
    """What the kernel `measure` finds, by NumPy."""
    text = prose(text)
    raw_B = np.frombuffer(_encoded(text).lower(), dtype=np.uint8)
    with np.errstate(over="ignore"):
        words_W, lengths_W, lettered_W = _words(raw_B)
        grams = _grams(words_W)
        count, characters = len(words_W), int(lengths_W.sum())
        shingles = distinct(grams[SHINGLE_WORDS] if count >= SHINGLE_WORDS else _whole(words_W))
        doubled = [_doubled(grams[5], lengths_W, 5)]
        longer = range(6, 11)
        if 10 * doubled[0] > max(1, characters):
            doubled += [_doubled(grams[n], lengths_W, n) for n in longer]
        else:
            doubled += [-1 for _ in longer]
        found = Counts(
            count,
            characters,
            text.count("#") - text.count("# ") - text.count("##") + text.count("..."),
            int(np.count_nonzero(lettered_W)),
            _stops_among(words_W),
            text.count("\n"),
            *_lines(raw_B),
            *(_top(grams[n], lengths_W, n) for n in (2, 3, 4)),
            *doubled,
        )
    return found, shingles


def distinct(hashes: Hashes) -> Hashes:
    """The hashes sorted, each once. NumPy's own way, by a hash table, takes longer."""
    ordered = np.sort(hashes)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]]


def shingle_hashes(text: str) -> Hashes:
    """`Signals.shingles` alone."""
    kernels = load_kernels()
    if kernels is not None:
        return kernels.shingles(_without_code(text, kernels))
    raw_B = np.frombuffer(_encoded(prose(text)).lower(), dtype=np.uint8)
    with np.errstate(over="ignore"):
        words_W = _words(raw_B)[0]
        if len(words_W) < SHINGLE_WORDS:
            return _whole(words_W)
        return distinct(_runs_of(words_W, SHINGLE_WORDS))


def line_hashes(lines: list[str]) -> Hashes:
    """A hash of each line, whatever its blanks and ASCII case."""
    if not lines:
        return np.zeros(0, dtype=np.uint64)
    joined = "\n".join(" ".join(line.split()) for line in lines) + "\n"
    raw_B = np.frombuffer(joined.encode().lower(), dtype=np.uint8)
    ends = np.flatnonzero(raw_B == 10)
    starts = np.concatenate(([0], ends[:-1] + 1))
    with np.errstate(over="ignore"):
        return _span_hashes(raw_B, starts, ends)


def _encoded(text: str) -> bytes:
    """UTF-8, with blanks around the characters of scripts that are written without them."""
    raw = text.encode()
    # Their first bytes in UTF-8; the regular expression runs only where there is one.
    if not text.isascii() and any(bytes([lead]) in raw for lead in range(0xE3, 0xEA)):
        raw = spaced_out(text).encode()
    return raw


def _words(raw_B: NDArray[np.uint8]) -> tuple[Hashes, Places, NDArray[np.bool_]]:
    """(hash, length in characters, whether it has a letter) of each word."""
    kept = raw_B[_KEPT[raw_B]]
    inside = np.zeros(len(kept) + 2, dtype=np.int8)
    inside[1:-1] = _WORD[kept]
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return np.zeros(0, dtype=np.uint64), starts, np.zeros(0, dtype=np.bool_)
    lengths = ends - starts
    if kept.max() >= 0x80:  # a character's first byte is none of 0x80 to 0xBF
        lengths = np.add.reduceat(((kept & 0xC0) != 0x80) & _WORD[kept], starts, dtype=np.int64)
    lettered = np.logical_or.reduceat(_LETTER[kept], starts)
    return _span_hashes(kept, starts, ends), lengths, lettered


def _span_hashes(raw: NDArray[np.uint8], starts: Places, ends: Places) -> Hashes:
    """The hash of each span: a polynomial in an odd base modulo 2^64, by differences of sums."""
    if not len(starts):
        return np.zeros(0, dtype=np.uint64)
    up, down = _POWERS.of(len(raw) + 1)
    sums = np.zeros(len(raw) + 1, dtype=np.uint64)
    np.cumsum(_VALUES[raw] * up[: len(raw)], out=sums[1:])
    return mixed((sums[ends] - sums[starts]) * down[starts])


def _runs_of(words_W: Hashes, n: int) -> Hashes:
    run = words_W
    for size in range(1, n):
        run = run[:-1] * _WORD_STEP + words_W[size:]
    return mixed(run)


def _grams(words_W: Hashes) -> dict[int, Hashes]:
    """n -> the hashes of the runs of n words, in order; empty where there are fewer words."""
    run, found = words_W, dict[int, Hashes]()
    for n in range(2, 11):
        run = run[:-1] * _WORD_STEP + words_W[n - 1 :] if len(words_W) >= n else words_W[:0]
        found[n] = mixed(run)
    return found


def _whole(words_W: Hashes) -> Hashes:
    """One run of all words, where there are any."""
    return _runs_of(words_W, len(words_W)) if len(words_W) else words_W


def _top(grams: Hashes, lengths_W: Places, n: int) -> int:
    """Characters of the most frequent n-gram's occurrences; 0 where none recurs."""
    if len(grams) < 2:
        return 0
    tagged, same = _grouped(grams)
    if not same.any():
        return 0
    starts = np.flatnonzero(np.concatenate(([True], ~same)))
    counts = np.diff(np.append(starts, len(grams)))
    most = int(counts.max())
    places = tagged[starts[counts == most]] & np.uint64((1 << _PLACE_BITS) - 1)
    sums = np.concatenate(([0], np.cumsum(lengths_W)))
    at = places.astype(np.int64)
    return most * int((sums[at + n] - sums[at]).max())


def _doubled(grams: Hashes, lengths_W: Places, n: int) -> int:
    """Characters of words inside n-grams that occurred before; none counts twice."""
    if len(grams) < 2:
        return 0
    tagged, same = _grouped(grams)
    if not same.any():
        return 0
    again = (tagged[1:][same] & np.uint64((1 << _PLACE_BITS) - 1)).astype(np.int64)
    depth = np.zeros(len(lengths_W) + 1, dtype=np.int64)
    np.add.at(depth, again, 1)
    np.add.at(depth, again + n, -1)
    return int(lengths_W[np.cumsum(depth[:-1]) > 0].sum())


def _grouped(grams: Hashes) -> tuple[Hashes, NDArray[np.bool_]]:
    """The hashes sorted, each with its place in the low bits; which equal the one before.

    47 bits of the hash are left: two of 100,000 runs share them by chance once in 28,000 texts.
    """
    bits = np.uint64(_PLACE_BITS)
    places = np.arange(len(grams), dtype=np.uint64) & np.uint64((1 << _PLACE_BITS) - 1)
    tagged = np.sort(((grams >> bits) << bits) | places)
    heads = tagged >> bits
    return tagged, heads[1:] == heads[:-1]


def _lines(raw_B: NDArray[np.uint8]) -> tuple[int, ...]:
    """The counts from `lines` to `line_bytes`; lines without a word are passed over."""
    ends = np.append(np.flatnonzero(raw_B == 10), len(raw_B))
    starts = np.concatenate(([0], ends[:-1] + 1))
    worded = np.concatenate(([0], np.cumsum(_WORD[raw_B])))
    has_word = worded[ends] > worded[starts]
    starts, ends = starts[has_word], ends[has_word]
    if not len(starts):
        return (0,) * 8
    inked = np.flatnonzero(~_SPACE[raw_B])
    first = inked[np.searchsorted(inked, starts)]
    last = inked[np.searchsorted(inked, ends) - 1]
    padded = np.concatenate((raw_B, np.zeros(2, dtype=np.uint8)))
    bullets = _BULLET[padded[first]] & (padded[first + 1] == 32)
    dotted = (padded[last] == 46) & (padded[last - 1] == 46) & (padded[last - 2] == 46)
    lengths = last + 1 - first
    hashes = _span_hashes(raw_B, first, last + 1)
    order = np.argsort(hashes, kind="stable")
    earlier = np.zeros(len(starts), dtype=bool)
    earlier[order[1:]] = hashes[order[1:]] == hashes[order[:-1]]
    counted = (bullets, dotted, _ENDS[padded[last]], lengths <= 30, earlier)
    return (
        len(starts),
        *map(int, map(np.count_nonzero, counted)),
        int(lengths[earlier].sum()),
        int(lengths.sum()),
    )


def _stops() -> Hashes:
    raw_B = np.frombuffer(" ".join(_STOP_WORDS).encode(), dtype=np.uint8)
    with np.errstate(over="ignore"):
        return np.sort(_words(raw_B)[0])


def _stops_among(words_W: Hashes) -> int:
    """How many of the stop words there are, each counted once."""
    nearest_W = np.searchsorted(_STOPS[:-1], words_W)
    found = nearest_W[_STOPS[nearest_W] == words_W]
    return int(np.count_nonzero(np.bincount(found, minlength=1)))


_STOPS: Final = _stops()
