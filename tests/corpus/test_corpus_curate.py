import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.corpus import Curated, CurateSettings, curate, shingles
from copydesk.corpus._duplicates import _bands, jaccard, without_duplicates
from copydesk.corpus._pages import Page, Place
from copydesk.errors import InvalidInput, NotEnoughText
from copydesk.records import Document, Progress

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "src/copydesk/samples").glob("*/posts.jsonl"))
BRANDS = ROOT.parent / "shared" / "brands"


def prose(seed: int, words: int = 100) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5000)}" for _ in range(words)]


def edited(words: Sequence[str], share: float) -> list[str]:
    """Every so many-th word changed, so that `share` of them are."""
    step = round(1 / share)
    return [f"new{i}" if i % step == step // 2 else word for i, word in enumerate(words)]


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"p{number:02}",
        "title": f"Page {number}",
        "text": " ".join(prose(number)),
        "date": f"2024-01-{number + 1:02}",
        **fields,
    }


def write(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def ids(documents: Sequence[Document]) -> list[str]:
    return [document.id for document in documents]


def highest_likeness(left: Sequence[Document], right: Sequence[Document]) -> float:
    """By plain set arithmetic over all pairs, without the index under test."""
    a, b = ([shingles(d.text) for d in documents] for documents in (left, right))
    return max(len(x & y) / len(x | y) for x, y in itertools.product(a, b))


def test_the_newest_pages_are_held_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [record(n) for n in reversed(range(20))])
    curated = curate([path], client="acme")
    assert ids(curated.train) == [f"p{n:02}" for n in range(16)]
    assert ids(curated.heldout) == [f"p{n:02}" for n in range(16, 20)]
    assert curated.split == "time" and curated.rejected == ()
    assert {document.client for document in curated.train} == {"acme"}


def test_a_seeded_split_depends_on_the_seed_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [record(n) for n in range(20)])
    held = {
        seed: ids(
            curate([path], client="a", settings=CurateSettings(split="seed", seed=seed)).heldout
        )
        for seed in range(4)
    }
    assert all(len(one) == 4 for one in held.values())
    assert len({tuple(one) for one in held.values()}) > 1
    again = curate([path], client="a", settings=CurateSettings(split="seed", seed=2))
    assert ids(again.heldout) == held[2]


def test_one_page_without_a_date_makes_the_split_seeded(tmp_path: Path) -> None:
    records = [record(n) for n in range(20)]
    del records[7]["date"]
    path = write(tmp_path / "a.jsonl", records)
    curated = curate([path], client="a")
    seeded = curate([path], client="a", settings=CurateSettings(split="seed"))
    assert curated == seeded and curated.split == "seed"
    everything = sorted([*curated.train, *curated.heldout], key=lambda d: d.date or "9")
    assert ids(everything)[-1] == "p07"


def test_the_order_of_sources_and_lines_changes_nothing(tmp_path: Path) -> None:
    records = [record(n) for n in range(24)]
    records += [record(40, text=records[3]["text"]), record(41, text=records[4]["text"].upper())]
    records += [record(50, id="p05"), {"title": "short", "text": "too few"}]
    for one in records:
        if "id" in one and one["id"] > "p39":
            one["date"] = "2024-03-01"
    records[26]["date"] = "2024-03-01"
    outcomes: list[Any] = []
    for turn in range(3):
        random.Random(turn).shuffle(records)
        left = write(tmp_path / f"left{turn}.jsonl", records[::2])
        right = write(tmp_path / f"right{turn}.jsonl", records[1::2])
        first = curate([left, right], client="a")
        assert first == curate([right, left, left], client="a")
        rejected = sorted(one.rule for one in first.rejected)
        outcomes.append((ids(first.train), ids(first.heldout), rejected))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][2] == ["duplicate-id", "exact-duplicate", "exact-duplicate", "too-short"]


def test_the_same_pages_elsewhere_are_the_same_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Curated] = []
    for place in ("here", "else/where"):
        folder = tmp_path / place / "acme"
        (folder / "blog" / "old").mkdir(parents=True)
        (folder / "shop").mkdir()
        records = [record(n) for n in range(20)]
        blog = write(folder / "blog" / "posts.jsonl", records[:8])
        write(folder / "blog" / "old" / "posts.jsonl", records[8:16])
        shop = write(folder / "shop" / "posts.jsonl", [*records[16:], {"text": "no title"}])
        outcomes.append(curate([folder / "blog", blog, shop], client="a"))
        monkeypatch.chdir(folder)
        outcomes.append(curate([Path("blog"), Path("shop/../shop/posts.jsonl")], client="a"))
    assert all(one == outcomes[0] for one in outcomes)
    found = outcomes[0]
    places = {page.source.rpartition(":")[0] for page in (*found.train, *found.heldout)}
    assert places == {"blog/posts.jsonl", "blog/old/posts.jsonl", "shop/posts.jsonl"}
    (rejection,) = found.rejected  # the file that was named twice was read once
    assert (rejection.source, rejection.line) == ("shop/posts.jsonl", 5)


def test_the_later_of_two_like_pages_is_rejected_naming_the_earlier(tmp_path: Path) -> None:
    words = prose(99, 200)
    copy = record(30, date="2023-01-01", text=" ".join(words))
    late = record(31, date="2024-06-01", text=" ".join(edited(words, 1 / 40)))
    path = write(tmp_path / "a.jsonl", [late, *(record(n) for n in range(20)), copy])
    curated = curate([path], client="a")
    (rejection,) = curated.rejected
    assert (rejection.source, rejection.line) == (path.name, 1)
    assert rejection.rule == "near-duplicate"
    likeness = len(shingles(copy["text"]) & shingles(late["text"])) / len(
        shingles(copy["text"]) | shingles(late["text"])
    )
    assert f"{path.name}:22" in rejection.reason and f"{likeness:.3f}" in rejection.reason
    assert ids(curated.train)[0] == "p30" and "p31" not in ids(curated.heldout)


def test_one_word_in_twenty_is_where_the_threshold_stands() -> None:
    words = prose(1, 4000)
    page = shingles(" ".join(words))
    assert jaccard(page, shingles(" ".join(edited(words, 1 / 20)))) == pytest.approx(0.6, abs=0.005)
    assert jaccard(page, shingles(" ".join(edited(words, 1 / 45)))) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6, 0.9])
def test_no_like_pair_crosses_the_split(tmp_path: Path, threshold: float) -> None:
    records: list[dict[str, Any]] = []
    for number in range(60):
        base = prose(number % 20)
        text = edited(base, 1 / (4 + number)) if number >= 20 else base
        day = f"2024-{number % 12 + 1:02}-{number % 28 + 1:02}"
        records.append(record(number, text=" ".join(text), date=day))
    limits = CurateSettings(near_duplicate=threshold)
    curated = curate([write(tmp_path / "a.jsonl", records)], client="a", settings=limits)
    assert highest_likeness(curated.train, curated.heldout) < threshold
    # And nothing was rejected without cause.
    kept = [*curated.train, *curated.heldout]
    texts = {one["id"]: one["text"] for one in records}
    lines = {number: one["id"] for number, one in enumerate(records, start=1)}
    for rejection in curated.rejected:
        own = shingles(texts[lines[rejection.line or 0]])
        assert max(jaccard(own, shingles(one.text)) for one in kept) >= threshold


def page(number: int, text: str) -> Page:
    place = Place(path="a.jsonl", line=number, digest=f"{number:064}")
    document = Document(
        id=f"p{number:03}",
        client="a",
        title="T",
        text=text,
        format="social",
        source=place.source,
        sha256=place.digest,
    )
    return Page(material=document, place=place)


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.lists(
        st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join) | st.just("!?"), max_size=12
    ),
    st.sampled_from([0.3, 0.6, 1.0]),
)
def test_kept_pages_are_those_of_a_greedy_search_over_all_pairs(
    texts: list[str], threshold: float
) -> None:
    pages = [page(number, text) for number, text in enumerate(texts)]
    expected: list[Page] = []
    for one in pages:
        own = shingles(one.material.text)
        others = [shingles(other.material.text) for other in expected]
        same = any(one.material.text == other.material.text for other in expected)
        alike = any(own and len(own & s) / len(own | s) >= threshold for s in others)
        if not same and not alike:
            expected.append(one)
    kept, rejected = without_duplicates(reversed(pages), threshold=threshold, on_page=lambda: None)
    assert kept == expected
    assert len(kept) + len(rejected) == len(pages)


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.6, 0.8, 0.95, 1.0])
def test_the_index_misses_no_pair_at_the_threshold(threshold: float) -> None:
    bands, rows = _bands(threshold)
    assert bands * rows <= 128
    assert (1 - threshold**rows) ** bands <= 1e-9


def test_short_social_posts_are_told_apart(tmp_path: Path) -> None:
    records = [record(n, text=f"open at {n}", format="social") for n in range(12)]
    records += [record(20, text="Open at 3!", format="social", date="2024-02-01")]
    limits = CurateSettings(min_words={"social": 1})
    curated = curate([write(tmp_path / "a.jsonl", records)], client="a", settings=limits)
    assert len(curated.train) + len(curated.heldout) == 12
    assert [(one.line, one.rule) for one in curated.rejected] == [(13, "near-duplicate")]


def test_too_few_pages_say_what_is_there_and_what_is_needed(tmp_path: Path) -> None:
    records = [record(n) for n in range(10)]
    records += [record(20, text="few words"), record(21, text="too few"), record(22, date="soon")]
    path = write(tmp_path / "a.jsonl", records)
    with pytest.raises(NotEnoughText) as caught:
        curate([path], client="acme")
    message = str(caught.value)
    for part in (
        "acme",
        "10 usable pages",
        "at least 11: 8 to train on and 3 to hold out",
        "3 were rejected",
        f"2 too-short (first: {path.name}:11: It has 2 words; a blog page needs at least 60.)",
        f"1 bad-date (first: {path.name}:13:",
    ):
        assert part in message


@given(st.floats(0.01, 0.95), st.integers(1, 10), st.integers(1, 20))
@settings(max_examples=100, deadline=None, database=None)
def test_the_needed_number_is_the_least_that_works(
    share: float, min_heldout: int, min_train: int
) -> None:
    limits = CurateSettings(heldout_share=share, min_heldout=min_heldout, min_train=min_train)
    needed = limits.fewest_documents()
    assert needed - limits.heldout_count(needed) >= min_train
    fewer = range(min_heldout, needed)
    assert all(count - limits.heldout_count(count) < min_train for count in fewer)


def test_eleven_pages_are_enough(tmp_path: Path) -> None:
    curated = curate([write(tmp_path / "a.jsonl", [record(n) for n in range(11)])], client="a")
    assert (len(curated.train), len(curated.heldout)) == (8, 3)


def test_wrong_settings_are_all_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        CurateSettings(heldout_share=1.5, min_train=0, min_words={"blog": -1}, near_duplicate=0)
    for name in ("heldout_share", "min_train", "min_words", "near_duplicate"):
        assert f"`{name}`" in str(caught.value)


def test_fewest_words_of_formats_not_named_keep_their_defaults() -> None:
    limits = CurateSettings(min_words={"blog": 9, "email": 7})
    found = [limits.fewest_words(name) for name in ("blog", "email", "social", "doc", "news")]
    assert found == [9, 7, 5, 40, 20]


def test_no_source_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="No source"):
        curate([], client="a")


def test_progress_is_told(tmp_path: Path) -> None:
    heard: list[Progress] = []
    path = write(tmp_path / "a.jsonl", [record(n) for n in range(20)])
    curate([path], client="acme", listener=heard.append)
    assert [(event.done, event.total, event.unit) for event in heard] == [
        (1, 1, "sources"),
        (20, 20, "pages"),
    ]


def check_split(curated: Curated, threshold: float = 0.6) -> None:
    assert highest_likeness(curated.train, curated.heldout) < threshold
    newest = max(document.date or "" for document in curated.train)
    assert newest <= min(document.date or "" for document in curated.heldout)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name)
def test_the_sample_brands_curate_without_a_rejection(path: Path) -> None:
    curated = curate([path], client=path.parent.name)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert curated.rejected == () and curated.split == "time"
    assert len(curated.train) + len(curated.heldout) == len(lines)
    check_split(curated)


def test_the_three_sample_brands_are_there() -> None:
    assert {path.parent.name for path in SAMPLES} == {"fernwick", "kestrel", "moonmilk"}


@pytest.mark.parametrize("brand", ["18f", "standard-ebooks", "va-gov"])
def test_real_brands_curate_whole(brand: str) -> None:
    path = BRANDS / brand / "posts.jsonl"
    if not path.is_file():
        pytest.skip("needs the real text of ../shared/brands")
    curated = curate([path], client=brand)
    records = {
        one["id"]: one for one in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }
    assert set(ids(curated.train)) | set(ids(curated.heldout)) == set(records)
    assert curated.rejected == ()
    assert len(curated.heldout) == round(len(records) / 5)
    check_split(curated)
