"""The index against a brute-force search for the longest shared run of words."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.content import TrainingIndex
from copydesk.content._folding import Folded, fold_words


def brute_longest(draft: list[str], documents: list[list[str]]) -> int:
    """Length of the longest run of words that the draft shares with one document."""
    best = 0
    for document in documents:
        row = [0] * (len(document) + 1)
        for word in draft:
            row = [0] + [row[j] + 1 if word == other else 0 for j, other in enumerate(document)]
            best = max(best, *row)
    return best


few_words = st.lists(st.sampled_from(["a", "b", "c", "the"]), max_size=40)


@settings(max_examples=300, deadline=None)
@given(draft=few_words, documents=st.lists(few_words, max_size=4))
def test_longest_run_is_the_brute_force_one(draft: list[str], documents: list[list[str]]) -> None:
    index = TrainingIndex.build((str(i), " ".join(d)) for i, d in enumerate(documents))
    text = " ".join(draft)
    run = index.longest_run(text)
    expected = brute_longest(draft, documents)
    assert (run.words if run else 0) == expected
    if run:
        shared = fold_words(text[run.start : run.end])
        assert len(shared) == run.words
        document = documents[int(run.document)]
        assert any(
            document[at : at + run.words] == shared for at in range(len(document) - run.words + 1)
        )


@settings(max_examples=200, deadline=None)
@given(draft=few_words, documents=st.lists(few_words, max_size=4), least=st.integers(1, 6))
def test_runs_are_apart_and_leave_nothing_out(
    draft: list[str], documents: list[list[str]], least: int
) -> None:
    index = TrainingIndex.build((str(i), " ".join(d)) for i, d in enumerate(documents))
    text = " ".join(draft)
    runs = index.runs(text, at_least=least)
    assert all(run.words >= least for run in runs)
    edges = [0, *(edge for run in runs for edge in (run.start, run.end)), len(text)]
    assert edges == sorted(edges)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        assert brute_longest(fold_words(text[start:end]), documents) < least


def test_case_punctuation_and_spacing_do_not_count() -> None:
    page = "We\u2019ve grown 'Charlotte' potatoes here since the spring of 1987, more or less."
    index = TrainingIndex.build([("page-1", "Another page."), ("page-2", page)])
    draft = (
        "Hello.\n\n*we've* GROWN “Charlotte” potatoes,\nhere since\u00a0the spring of 1987 again"
    )
    run = index.longest_run(draft)
    assert run is not None
    assert run.document == "page-2"
    assert run.words == 10
    assert draft[run.start : run.end].startswith("we've* GROWN")
    assert draft[run.start : run.end].endswith("1987")


def test_a_run_does_not_cross_documents() -> None:
    index = TrainingIndex.build([("one", "alpha beta gamma"), ("two", "delta epsilon")])
    run = index.longest_run("alpha beta gamma delta epsilon")
    assert run is not None
    assert (run.words, run.document) == (3, "one")


@pytest.mark.parametrize("pages", [[], [("empty", "")], [("marks", "!!! --- ...")]])
def test_nothing_to_find(pages: list[tuple[str, str]]) -> None:
    index = TrainingIndex.build(pages)
    assert index.longest_run("a draft of six words here") is None
    assert index.longest_run("") is None
    assert index.runs("", at_least=12) == ()


@given(st.text())
def test_folding_keeps_the_way_back(text: str) -> None:
    folded = Folded(text)
    words = folded.words()
    assert [word.text for word in words] == fold_words(text)
    for word in words:
        assert 0 <= word.start < word.end <= len(text)
        assert word.text in "".join(fold_words(text[word.start : word.end])) or not text.isascii()


@pytest.mark.parametrize("repetitive", [False, True])
def test_a_long_draft_against_many_pages(repetitive: bool) -> None:
    rng = random.Random(0)
    vocabulary = [f"word{n}" for n in range(2 if repetitive else 8000)]
    pages = [(f"p{n}", " ".join(rng.choices(vocabulary, k=1000))) for n in range(300)]
    index = TrainingIndex.build(pages)
    copied = pages[200][1].split()[100:140]
    draft = " ".join(["other"] * 700 + copied + rng.choices(vocabulary, k=760))
    run = index.longest_run(draft)
    runs = index.runs(draft, at_least=12)
    assert run is not None
    assert run.words >= 40
    assert run in runs
