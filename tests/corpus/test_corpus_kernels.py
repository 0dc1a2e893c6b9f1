"""The room's compiled kernels beside the Python and NumPy that find the same without them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.corpus import (
    CurateSettings,
    _boilerplate,
    _kernels,
    _language,
    _lines,
    _secrets,
    _shards,
    _signals,
    _sketches,
    _words,
    clean_corpus,
)
from copydesk.corpus._characters import character_kinds
from copydesk.corpus._kernels import Kernels, load_kernels
from copydesk.records import Document

T = TypeVar("T")

CALLERS = (_boilerplate, _language, _lines, _secrets, _shards, _signals, _sketches, _words)
SPARSE = settings(max_examples=150, deadline=None, database=None)

PIECES = (
    *("the", "to", "Ann", "1,5", "o'er", "x" * 300, "naïve", "İıß", "e\u0301", "\u0301" * 32),
    *("中文", "日本語", "한국어", "﨑", "👩‍👩‍👧", "\U0001d518", "\U0010ffff", "٤٩", "²½"),
    *(
        "“a”",
        "\u2018b\u2019",
        "\u2013",
        "—",
        "…",
        "•",
        "\u00a0",
        "\u2003",
        "\u3000",
        "\u2028",
        "\ufeff",
    ),
    *(" ", "  ", "\t", "\n", "\n\n\n\n", " \n", "\r\n", "\r", "\x0b", "\x1c", "\x85"),
    *("#", "# ", "##", "...", "- ", "* ", "`", "|", "(", ")", "[", "]", "<", ">", "!"),
    *("```\ncode\n```\n", "~~~\n", "> ```\n", "[a](b)", "[a](b(c)d)", "](", "](a(b"),
    *("http://x.y/z", "https://", "httphttps://a\u2003b", "<b>", "</i>", "<!-- c -->", "<a\n>"),
    *("a@b.c", "x.y+z@host.example.org", "@", "4111 1111 1111 1111", "4111-1111-1111-1112"),
    *("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "+49 30 1234567", "0049 30 123456"),
    *(
        "(030) 123 45 67 89",
        "2019-01-02",
        "2019\u20132020",
        "978-3-16-148410-0",
        "12345678",
        "3.14",
    ),
    *("AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 18, "github_pat_" + "A" * 50, "AIza" + "b" * 35),
    *("xoxb-1234567890-abcdef", "sk_live_" + "9" * 20, "sk-" + "q" * 40, "desk-bound"),
    *("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "eyJhbGciOiJIü", "PRIVATE KEY", "Home | News"),
)
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join),
    st.lists(st.sampled_from(("a", "b", "c d", "Ann")), max_size=60).map(" ".join),
    st.text(st.characters(codec="utf-8"), max_size=60),
)


@pytest.fixture(autouse=True, scope="module")
def kernels() -> Kernels:
    found = load_kernels()
    if found is None:
        pytest.skip("there is no C++ compiler")
    return found


def without_kernels(found: Callable[[], T]) -> T:
    with pytest.MonkeyPatch.context() as patch:
        for module in CALLERS:
            patch.setattr(module, "load_kernels", lambda: None)
        return found()


def same(function: Callable[[str], object], text: str) -> bool:
    return function(text) == without_kernels(lambda: function(text))


@SPARSE
@given(TEXTS)
def test_texts_are_measured_alike(text: str) -> None:
    found = _signals.measure(text)
    expected = without_kernels(lambda: _signals.measure(text))
    assert found.shingles.tolist() == expected.shingles.tolist()
    for name in type(found).__slots__:
        if name != "shingles":
            assert getattr(found, name) == getattr(expected, name), name
    assert _signals.shingle_hashes(text).tolist() == expected.shingles.tolist()
    keys = _sketches.band_keys(found.shingles)
    assert keys.tolist() == without_kernels(lambda: _sketches.band_keys(found.shingles)).tolist()


@pytest.mark.parametrize("words", [1, 4, 5, 3_000, (1 << 17) + 999])
def test_long_texts_are_measured_alike(words: int) -> None:
    """Places of runs are kept in 17 bits."""
    drawn = np.random.default_rng(words).integers(0, 30, words)
    text = "\n".join(" ".join(f"w{word}" for word in row) for row in np.array_split(drawn, 9))
    found, expected = _signals.counted(text)
    numbers, shingles = kernels_of().measure(text, _signals._stops())
    assert tuple(numbers) == found
    assert shingles.tolist() == expected.tolist()


def kernels_of() -> Kernels:
    found = load_kernels()
    assert found is not None
    return found


@SPARSE
@given(TEXTS)
def test_lines_that_sites_share_are_found_alike(text: str) -> None:
    def found(of: str) -> tuple[list[int], list[int]]:
        hashes, numbers = _boilerplate.shared_lines(of)
        return hashes.tolist(), numbers

    assert same(found, text)


@pytest.mark.parametrize("size", [10, 11, 12, 398, 399, 400])
@pytest.mark.parametrize("letter", ["a", "é", "中", "\U0001d518"])
def test_lines_are_shared_by_their_length_in_characters(size: int, letter: str) -> None:
    line = f"{letter * size} b"
    found, _ = _boilerplate.shared_lines(f"x\n{line}\n")
    assert len(found) == (12 <= len(line) <= 400)


@SPARSE
@given(TEXTS)
def test_secrets_and_contacts_are_found_alike(text: str) -> None:
    text = text.replace("\0", "")
    for kinds in (frozenset({"secret"}), frozenset({"secret", "contact"})):
        assert same(lambda of, kinds=kinds: _secrets.scrub(of, kinds), text)


@SPARSE
@given(TEXTS)
def test_texts_are_cleaned_and_hashed_alike(text: str) -> None:
    assert same(_words.clean_text, text)
    cleaned = _words.clean_text(text)
    assert _words.clean_text(cleaned) == cleaned
    assert same(_shards.text_hash, text)


@SPARSE
@given(st.one_of(TEXTS, st.text(st.characters(codec="utf-8", max_codepoint=0x80), max_size=200)))
def test_pages_are_written_alike(text: str) -> None:
    page = {"id": "p", "client": ', "text": ""', "title": text, "format": "blog", "source": "s"}
    assert same(lambda of: _lines.material_line(Document(**page, text=of, sha256="0")), text)


@SPARSE
@given(TEXTS, st.integers(0, 30))
def test_words_are_told_early_only_where_they_are(text: str, fewest: int) -> None:
    assert _words.has_words(text, fewest) == (_words.word_count(text) >= fewest)


@SPARSE
@given(
    st.one_of(
        st.text(st.characters(codec="utf-8", categories=("L", "Zs")), min_size=80, max_size=120),
        st.lists(
            st.sampled_from(
                [
                    "the",
                    "and",
                    "hund",
                    "Katze",
                    "être",
                    "дом",
                    "слово",
                    "λόγος",
                    "言葉",
                    "kota",
                    "ve",
                ]
            ),
            min_size=20,
            max_size=60,
        ).map(" ".join),
    )
)
def test_languages_are_recognised_alike(text: str) -> None:
    assert same(_language.language_of, text)


def test_blanks_are_those_of_python() -> None:
    kinds = character_kinds()
    blanks = [code for code in range(len(kinds)) if chr(code).isspace()]
    assert np.flatnonzero(kinds & 1).tolist() == blanks


def test_half_of_a_surrogate_pair_is_refused() -> None:
    kernels, text = kernels_of(), "A caf\ud800 on the corner, and a page of words."
    for read in (
        lambda: kernels.measure(text, _signals._stops()),
        lambda: kernels.shingles(text),
        lambda: kernels.lines(text),
        lambda: kernels.suspects(text, _secrets._PACKED_SIGNS),
        lambda: kernels.is_tidy(text),
        lambda: kernels.may_hold_code(text),
        lambda: kernels.squeeze(text),
        lambda: kernels.escape(text),
    ):
        with pytest.raises(UnicodeEncodeError):
            read()


def test_room_for_a_long_text_is_not_kept() -> None:
    room = _kernels._Room()
    small, place = room.of(10)
    assert len(small) >= 10 and room.of(5)[1] == place
    large, _ = room.of(_kernels._MOST_KEPT + 1)
    assert len(large) > _kernels._MOST_KEPT and room.of(10)[1] == place


def test_without_a_compiler_a_corpus_is_cleaned_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    draw = np.random.default_rng(0)
    lines = [
        json.dumps(
            {
                "title": f"Page {number}",
                "text": "Home and news | Products\n\n"
                + "\n\n".join(
                    " ".join(draw.choice(["the", "of", "Ann", "naïve", "a@b.org", "price"], 40))
                    + "."
                    for _ in range(9)
                ),
            }
        )
        for number in range(40)
    ]
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def digest(name: str) -> str:
        out = tmp_path / name
        out.mkdir()
        return clean_corpus(
            [corpus],
            out,
            client="c",
            work=tmp_path / f"work-{name}",
            settings=CurateSettings(contacts="scrub"),
        ).digest

    found = digest("compiled")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    load_kernels.cache_clear()
    try:
        assert load_kernels() is None
        assert digest("plain") == found
    finally:
        load_kernels.cache_clear()
