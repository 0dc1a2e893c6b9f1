"""What is copied from elsewhere, and drafts of a batch that copy one another."""

import pytest

from copydesk.content import Page, ShingleIndex, Standards, TrainingIndex, check, check_batch
from copydesk.content._folding import Folded

KEY = b"0123456789abcdef"
PAGE = " ".join(f"w{n}" for n in range(60))


def index(text: str, key: bytes = KEY) -> ShingleIndex:
    return ShingleIndex.build([text], kind="client", key=key)


@pytest.mark.parametrize(("copied", "severity"), [(7, None), (8, "warning"), (12, "error")])
def test_another_clients_words_are_found_and_never_shown(copied: int, severity: str | None) -> None:
    run = " ".join(f"W{n}" for n in range(20, 20 + copied))
    text = f"Ours is this: {run}, and no more."
    found = check(text, standards=Standards(others=[index(PAGE)]))
    assert [f.severity for f in found] == ([severity] if severity else [])
    for finding in found:
        assert text[finding.start : finding.end] == run
        assert f"{copied} words" in finding.message
        assert not any(word in finding.message for word in PAGE.split())


def test_hashes_need_the_key() -> None:
    words = Folded(PAGE).words()
    share, runs = index(PAGE).shared(words)
    assert (share, runs[0].words) == (1.0, 60)
    other = ShingleIndex(kind="client", hashes_S=index(PAGE).hashes, key=b"another key here")
    assert other.shared(words) == (0.0, ())
    merged = ShingleIndex.merged([index(PAGE), index("a b c d e f g h")])
    assert len(merged.hashes) == 53 + 1


def test_share_of_training_shingles_against_counting() -> None:
    training = TrainingIndex.build([("a", PAGE), ("b", "x y z")])
    text = " ".join(PAGE.split()[:30]) + " " + " ".join(f"v{n}" for n in range(30))
    shingles = [tuple(text.split()[at : at + 8]) for at in range(60 - 7)]
    known = {tuple(PAGE.split()[at : at + 8]) for at in range(60 - 7)}
    expected = sum(shingle in known for shingle in shingles) / len(shingles)
    assert training.shared_share(text, words=8) == pytest.approx(expected)
    assert training.shared_share("too short", words=8) == 0.0


SERVICE = (
    "We mend roofs in {place}. Our van is in {place} by eight, with slate, lead and a kettle. "
    "Call us when the rain comes in, and we look at the attic first, since water runs far. "
    "People of {place} know our ladder. A small repair takes a morning and a large one a week."
)


def test_doorways_and_near_duplicates_of_a_batch() -> None:
    other = (
        "A slate cracks in frost, and the crack lets in a thread of water. It runs on the batten,"
        " drips where nobody looks, and by spring there is a stain like a map by the bed. Look up"
        " in January, with a torch, before the stain is there, and ring somebody with a ladder."
    )
    texts = [SERVICE.format(place="Leeds"), SERVICE.format(place="York"), other, other + " Now."]
    pages = [Page(text=text, label=f"d{n}") for n, text in enumerate(texts)]
    found = [
        [f.rule for f in findings if f.family == "google"]
        for _, findings in check_batch(iter(pages))
    ]
    assert found == [[], ["doorway"], [], ["near-duplicate"]]


def test_a_batch_is_streamed() -> None:
    taken: list[int] = []

    def pages() -> object:
        for number in range(3):
            taken.append(number)
            yield Page(text=f"Draft {number}.")

    results = check_batch(pages())  # type: ignore[arg-type]
    next(results)
    assert taken == [0]
