"""Signals and sketches beside plain Python that counts the same by definition."""

import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.corpus._signals import distinct, line_hashes, measure, shingle_hashes
from copydesk.corpus._sketches import SKETCH, band_keys, bottom_sketch, likeness

TEXTS = st.lists(
    st.lists(st.sampled_from(["Ann", "the", "to", "1,5", "--", "é", "o'er", "b"]), max_size=9).map(
        " ".join
    ),
    max_size=6,
).map("\n".join)


def words_of(text: str) -> list[str]:
    """Between blanks, letters and digits only."""
    bare = ("".join(c for c in part if c.isalnum()) for part in text.lower().split())
    return [word for word in bare if word]


def duplicate_share(words: list[str], n: int) -> float:
    """Gopher's: characters of words in runs that an earlier run equals, each once."""
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for at in range(len(words) - n + 1):
        run = tuple(words[at : at + n])
        if run in seen:
            covered.update(range(at, at + n))
        seen.add(run)
    return sum(len(words[at]) for at in covered) / max(1, sum(map(len, words)))


def top_share(words: list[str], n: int) -> float:
    runs = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    most = max(runs.values(), default=0)
    if most < 2:
        return 0.0
    longest = max(len("".join(run)) for run, count in runs.items() if count == most)
    return most * longest / sum(map(len, words))


@settings(max_examples=200, deadline=None, database=None)
@given(TEXTS)
def test_words_and_runs_are_counted_as_by_definition(text: str) -> None:
    words = words_of(text)
    found = measure(text)
    assert found.words == len(words)
    assert found.mean_word_length == pytest.approx(
        sum(map(len, words)) / len(words) if words else 1.0 / max(1, len(words))
    )
    runs = {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))} if words else set()
    assert len(found.shingles) == len(runs)
    for n in (2, 3, 4):
        assert found.top_ngrams[n] == pytest.approx(top_share(words, n))
    for n, share in found.duplicate_ngrams.items():
        assert share == pytest.approx(duplicate_share(words, n))
    if 10 not in found.duplicate_ngrams:
        assert all(duplicate_share(words, n) <= 0.1 for n in range(6, 11))
    assert found.stop_words == len({"the", "to"} & set(words))


@settings(max_examples=200, deadline=None, database=None)
@given(TEXTS)
def test_lines_are_counted_as_by_definition(text: str) -> None:
    lines = [line.strip() for line in text.lower().split("\n") if words_of(line)]
    found = measure(text)
    assert found.lines == len(lines)
    if not lines:
        return
    later = [line for at, line in enumerate(lines) if line in lines[:at]]
    assert found.duplicate_lines == pytest.approx(len(later) / len(lines))
    size = [len(line.encode()) for line in lines]
    assert found.short_lines == pytest.approx(sum(one <= 30 for one in size) / len(lines))
    assert found.duplicate_line_characters == pytest.approx(
        sum(len(line.encode()) for line in later) / sum(size)
    )


def test_markup_and_curly_marks_are_no_words() -> None:
    plain = "See the guide now - it's good."
    marked = (
        "See [the guide](https://example.org/a_(b)) \u201cnow\u201d \u2014 it\u2019s <b>good</b>."
    )
    assert list(shingle_hashes(plain)) == list(shingle_hashes(marked))
    assert measure("```\nx = 1\n```\nA word").words == 2
    assert measure("\u4e2d\u6587\u5b57").words == 3


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_distinct_sorts_and_drops_what_comes_twice(values: list[int]) -> None:
    assert distinct(np.array(values, dtype=np.uint64)).tolist() == sorted(set(values))


def test_lines_differ_by_words_not_by_blanks_or_case() -> None:
    first, same, other = line_hashes(["Buy  now ", " buy now", "buy nowt"]).tolist()
    assert first == same != other
    assert line_hashes([]).tolist() == []


@pytest.mark.parametrize("size", [40, 200, 3000])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
def test_sketches_estimate_the_likeness_of_two_sets(size: int, share: float) -> None:
    draw = np.random.default_rng(size)
    pool = draw.integers(0, 2**63, 2 * size).astype(np.uint64)
    shared = round(2 * share / (1 + share) * size)
    a, b = distinct(pool[:size]), distinct(pool[size - shared : 2 * size - shared])
    exact = len(np.intersect1d(a, b)) / len(np.union1d(a, b))
    found = likeness(bottom_sketch(a), bottom_sketch(b))
    # Four standard errors of an estimate from 256 of the hashes; none where all are in the sketch.
    error = 0 if size <= SKETCH else 4 * (exact * (1 - exact) / SKETCH) ** 0.5
    assert abs(found - exact) <= error + 1e-9


def test_pages_at_the_threshold_share_a_key_and_others_hardly_do() -> None:
    draw = np.random.default_rng(0)
    alike = apart = 0
    for _ in range(300):
        pool = draw.integers(0, 2**64, 2000, dtype=np.uint64)
        a, b, c = distinct(pool[:800]), distinct(pool[200:1000]), distinct(pool[760:1560])
        alike += bool((band_keys(a) == band_keys(b)).any())  # likeness 600 / 1000
        apart += bool((band_keys(a) == band_keys(c)).any())  # likeness 40 / 1560
    # By the formula one miss in 28,000 and one hit in 1,400 pairs.
    assert alike == 300 and apart <= 3


def test_a_page_of_one_run_has_keys_and_an_empty_one_has_none() -> None:
    one = np.array([5], dtype=np.uint64)
    assert (band_keys(one) == band_keys(one.copy())).all()
    assert likeness(bottom_sketch(one), bottom_sketch(one)) == 1
    nothing = one[:0]
    assert len(set(band_keys(nothing).tolist())) == 1
    assert likeness(bottom_sketch(nothing), bottom_sketch(nothing)) == 0


def test_one_changed_word_changes_five_runs() -> None:
    words = [f"w{random.Random(n).random()}" for n in range(100)]
    changed = [*words[:50], "new", *words[51:]]
    a, b = (set(shingle_hashes(" ".join(one)).tolist()) for one in (words, changed))
    assert len(a) == len(b) == 96 and len(a - b) == 5
    assert re.fullmatch(r"w0\.\d+(e-\d+)?", words[0])
