"""What is left of a text when its topic is taken out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.evaluate import cut_words, hiding, mask, prose

PAGE = """# Sweet peas

We *never* sow them [before March](https://example.com/a_(b)); see:

- two seeds a pot
- `code` and **more**

```python
print("never seen")
```

| table | of things |

[ref]: https://example.com
The pots\u2019 drainage \u2014 it\u2019s vital -- counts.
"""


def test_prose_is_what_a_reader_hears() -> None:
    assert prose(PAGE) == (
        "Sweet peas We never sow them before March; see: two seeds a pot code and more"
        " The pots' drainage - it's vital - counts."
    )


def test_content_words_leave_shape_and_ending() -> None:
    masked = mask(prose("We sowed 12 Potatoes in Kent, didn't we? The US likes them."))
    assert masked == "we xxxed ## Xxxxes in Xxxx, didn't we? the XX xxxes them."


def swapped(text: str, words: dict[str, str]) -> str:
    return re.sub(r"\w+", lambda found: words.get(found[0], found[0]), text)


def test_the_topic_does_not_change_the_mask() -> None:
    garden = "However, we plant the tulip in a border, and the bulb does well there."
    words = {"plant": "braze", "tulip": "flask", "border": "container", "bulb": "bolt"}
    metal = swapped(garden, words)
    assert metal != garden
    assert mask(metal) == mask(garden)


def test_names_are_hidden_whole_and_tell_nothing() -> None:
    pattern = hiding(["Let's Encrypt", "18F"])
    first = mask("At Let's Encrypt we run 18F's site.", pattern)
    other = mask("At Big Brands we run Acme's site.", hiding(["Big Brands", "Acme"]))
    assert first == other
    assert mask("Let's go.", pattern) == mask("Let's go."), "a function word hides only in the name"
    assert hiding(["", " "]) is None


@pytest.mark.parametrize("name", ["C++ (core)", "a.b", "[x", "\\d"])
def test_names_are_taken_literally(name: str) -> None:
    pattern = hiding([name])
    assert pattern is None or not pattern.search("7 zebras stand at the gate")


@given(st.text())
def test_a_mask_is_stable_and_keeps_the_number_of_words(text: str) -> None:
    plain = prose(text)
    assert prose(plain) == plain or not plain.isascii() or "#" in text or ">" in text or "-" in text
    assert len(mask(plain).split()) == len(plain.split())


def test_cutting_by_words_loses_nothing() -> None:
    plain = prose(PAGE)
    parts = [cut_words(plain, start, start + 5) for start in range(0, 30, 5)]
    assert " ".join(part for part in parts if part) == plain
    assert cut_words(plain, 100, 120) == ""
