"""Delta and compression distance against their formulas, written out."""

import lzma
import random
import statistics

import pytest

from copydesk.errors import NotEnoughText
from copydesk.evaluate import BurrowsDelta, compression_distance
from copydesk.evaluate._masking import FUNCTION_WORDS

ONE = ["the cat and the dog", "the cow and a pig of the farm", "and the hen"]
OTHER = ["a bee in a hive", "a fly in a web of a spider in a house"]


def share(text: str, word: str) -> float:
    return text.split().count(word) / len(text.split())


def test_delta_is_the_mean_difference_of_z() -> None:
    found = BurrowsDelta.fit({"one": ONE, "other": OTHER})
    used = sorted({w for t in (*ONE, *OTHER) for w in t.split() if w in FUNCTION_WORDS})
    assert sorted(found.words) == used
    text = "the bee and a web"
    expected = {"one": 0.0, "other": 0.0}
    for word in used:
        one, other = ([share(t, word) for t in texts] for texts in (ONE, OTHER))
        mean = (statistics.mean(one) + statistics.mean(other)) / 2
        spread = [statistics.mean((x - mean) ** 2 for x in side) for side in (one, other)]
        deviation = statistics.mean(spread) ** 0.5
        for name, side in (("one", one), ("other", other)):
            z, own = ((x - mean) / deviation for x in (share(text, word), statistics.mean(side)))
            expected[name] += abs(z - own) / len(used)
    assert found.distances(text) == pytest.approx(expected)


def test_a_single_text_is_its_own_profile() -> None:
    found = BurrowsDelta.fit({"one": ONE[:1], "other": OTHER})
    assert found.distances(f"# {ONE[0].upper()}")["one"] == pytest.approx(0, abs=1e-12)


def test_topic_does_not_move_delta() -> None:
    found = BurrowsDelta.fit({"one": ONE, "other": OTHER})
    assert found.distances("the cat and the dog") == found.distances("the hat and the jar")


def test_delta_needs_two_authors_with_texts() -> None:
    for authors in ({"one": ONE}, {"one": ONE, "other": []}):
        with pytest.raises(NotEnoughText, match="two authors"):
            BurrowsDelta.fit(authors)


def size(text: str) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
    return len(lzma.compress(text.encode(), format=lzma.FORMAT_RAW, filters=filters))


def test_compression_distance_of_the_same_and_of_strangers() -> None:
    drawn = random.Random(1)
    one, other = ("".join(drawn.choices("abcdefgh ", k=6000)) for _ in range(2))
    assert compression_distance(one, one) < 0.05
    assert 0.85 < compression_distance(one, other) < 1.05
    near = one[:3000] + other[3000:]
    expected = (size(one + near) - min(size(one), size(near))) / max(size(one), size(near))
    assert compression_distance(one, near) == pytest.approx(expected)
    assert compression_distance(one, one) < expected < compression_distance(one, other)
