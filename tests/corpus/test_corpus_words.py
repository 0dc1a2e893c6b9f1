import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.corpus import shingles, word_count
from copydesk.corpus._words import clean_text, headings, slug

PROPERTY = settings(max_examples=150, deadline=None, database=None)
MARKDOWN = st.text(
    alphabet=st.sampled_from("aZé9\u0301\u0327 \t\n\r\u2028#`~>*_[]()-—/.,'\u2019中カ🌙\ufeff\x07"),
    max_size=80,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("— … !!! 🌙", 0),
        ("Don't re-open the 420-denier bag—it weighs 3,400 g.", 9),
        ("See [the long guide](https://example.org/a_(b)/c) or https://example.org/x?y=z now", 6),
        ('<p class="a b c">Two words</p>', 2),
        ("# A heading\n\n- one\n- two", 4),
        ("before\n\n```python\nnot these words\n```\n\nafter", 2),
        ("> ~~~\n> code\n\nthe quote ended the code", 5),
        ("``` a span of code ``` and more", 6),
        ("_one_ **two** `three`", 3),
        ("東京 tower", 3),
    ],
)
def test_words_are_those_of_the_prose(text: str, words: int) -> None:
    assert word_count(text) == words


def test_shingles_are_all_runs_of_five_words() -> None:
    assert shingles("The cat sat, on THE mat today.") == {
        "the cat sat on the",
        "cat sat on the mat",
        "sat on the mat today",
    }


def test_a_short_text_is_one_shingle_and_no_text_none() -> None:
    assert shingles("Open tonight!") == {"open tonight"}
    assert shingles("🌙 …") == frozenset()


@PROPERTY
@given(st.lists(st.sampled_from(["ant", "bee", "cat", "dog"]), max_size=30), st.integers(1, 6))
def test_shingles_match_a_plain_enumeration(words: list[str], n: int) -> None:
    expected = {" ".join(words[i : i + n]) for i in range(len(words)) if i + n <= len(words)}
    if words and len(words) < n:
        expected = {" ".join(words)}
    assert shingles(" ".join(words), n) == expected


@PROPERTY
@given(MARKDOWN)
def test_cleaning_is_idempotent_and_keeps_the_words(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert not set(clean) & set("\r\u2028\ufeff\x07")
    assert unicodedata.is_normalized("NFC", clean)
    assert clean == clean.strip()
    assert "\n\n\n\n" not in clean


def test_cleaning_keeps_line_breaks_of_markdown_and_two_blank_lines() -> None:
    assert clean_text("one  \r\ntwo \t\r\n\r\nthree  \n\n\nfour\n\n\n\n\nfive") == (
        "one  \ntwo\n\nthree\n\n\nfour\n\nfive"
    )


@pytest.mark.parametrize(
    "text",
    [
        "](" * 100_000,
        "`" * 200_000,
        "> " * 100_000,
        "\t" * 200_000 + "x",
        "<a" * 100_000,
        "a" + "\u0301\u0327" * 100_000,
        "(https://" * 22_000,
    ],
    ids=["links", "ticks", "quotes", "tabs", "tags", "marks", "addresses"],
)
def test_no_text_takes_more_than_linear_time(text: str) -> None:
    start = time.perf_counter()
    word_count(clean_text(text))
    list(headings(text))
    assert time.perf_counter() - start < 5


def test_slugs_are_ascii_words() -> None:
    assert slug("  Crème brûlée: 10 tips! ") == "creme-brulee-10-tips"
    assert slug("東京") == ""
    assert len(slug("long " * 100)) <= 60
