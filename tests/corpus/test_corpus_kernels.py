"""The corpus's kernels against NumPy, on texts of every kind; and cleaning without a compiler."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.corpus import _boilerplate, _secrets, _signals
from copydesk.corpus._kernels import Kernels
from copydesk.corpus._words import clean_text

MODULES = (_signals, _boilerplate, _secrets)
PIECES = (
    *(
        "the",
        "and",
        "Of",
        "don't",
        "x",
        "12",
        "3.5",
        "...",
        "- item",
        "## Head",
        "| cell",
        "`code`",
    ),
    *("a@b.example", "+49 170 1234567", "(030) 123456-78", "2020-11-12", "12345678 and 12345678"),
    *("GB82 WEST 1234 5698 7654 32", "4111 1111 1111 1111", "AB12CDEF", "1 2 3 4 5 6 7 8 9"),
    *("AKIA1234567890ABCDEF", "sk-" + "a" * 40, "٣٤٥٦٧٨٩٠١ 123456789", "İstanbul", "ß", "中文字"),
    *("\u00a0", "\u2003", "\u2028", "\u0085", "\x1c", "\x0b", "#tag", "[x](http://y.example/z)"),
)
GAPS = (" ", " ", " ", "\n", "\n\n", "  \n", "\t\n", "\r\n", "\n\n\n\n\n")
PAGES = st.one_of(
    st.text(max_size=300),
    st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(GAPS)), max_size=150).map(
        lambda pairs: "".join(piece + gap for piece, gap in pairs)
    ),
    st.lists(st.sampled_from(["alpha", "beta", "Gamma"]), max_size=200).map(" ".join),
)


@pytest.fixture(autouse=True)
def kernels() -> Kernels:
    found = _signals.compiled()
    if found is None:
        pytest.skip("needs a C++ compiler")
    return found


def by_numpy(function: Callable[[str], Any], text: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(module, "compiled", lambda: None)
        return function(text)


def plain(value: Any) -> Any:
    """Arrays as lists, so that values compare."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, _signals.Signals):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def scrub_all(text: str) -> Any:
    return _secrets.scrub(text, frozenset({"secret", "contact"}))


@settings(max_examples=150, deadline=None)
@given(PAGES)
def test_kernels_find_what_numpy_finds(text: str) -> None:
    text = clean_text(text)
    for function in (
        _signals.measure,
        _signals.shingle_hashes,
        _boilerplate.shared_lines,
        scrub_all,
    ):
        assert plain(function(text)) == plain(by_numpy(function, text)), function.__name__


def test_runs_are_grouped_by_47_bits_of_their_hashes_in_both() -> None:
    text = " ".join(
        f"w{number % 211} {'again and again and' if number % 5 else ''}" for number in range(6000)
    )
    assert plain(_signals.measure(text)) == plain(by_numpy(_signals.measure, text))


def test_of_too_many_words_numpy_measures_all(kernels: Kernels) -> None:
    text = "one two three " * 50_000
    assert kernels.measure(text.encode()) is None
    assert _signals.measure(text).words == 150_000


@pytest.mark.parametrize(
    "text",
    ["", "\n", "x", "a b", "a b c d e", "\n" * 40, "é" * 30, "word " * 3000, "y" * 20_000],
)
def test_the_shortest_and_the_longest(text: str) -> None:
    assert plain(_signals.measure(text)) == plain(by_numpy(_signals.measure, text))
    lines = _boilerplate.shared_lines
    assert plain(lines(text)) == plain(by_numpy(lines, text))


@settings(max_examples=150, deadline=None)
@given(PAGES)
def test_ascii_is_cleaned_as_all_other_text_is(text: str) -> None:
    ascii_text = text.encode("ascii", "ignore").decode()
    among_others = clean_text("é\n\n" + ascii_text)
    assert clean_text(ascii_text) == among_others.removeprefix("é").strip()
