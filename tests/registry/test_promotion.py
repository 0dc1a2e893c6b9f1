"""Who speaks for a client: promotions, rollbacks and what they rest on."""

import math
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from factories import STANDARD, add, gate, judge

from copydesk.errors import (
    AlreadyThere,
    Damaged,
    InUse,
    InvalidInput,
    NotPassed,
    UnknownName,
)
from copydesk.registry import (
    CanaryRules,
    GateResult,
    Standard,
    evaluations,
    find_version,
    history,
    live_version,
    newest_evaluation,
    promote,
    promoted_number,
    rollback,
)
from copydesk.store import Catalogue

CONTEND = """
import sys
from pathlib import Path
from copydesk.errors import CopydeskError
from copydesk.registry import Standard, find_version, live_version, promote, rollback
from copydesk.store import Catalogue
root, me = Path(sys.argv[1]), int(sys.argv[2])
catalogue = Catalogue(root)
print("ready", flush=True)
sys.stdin.readline()
done = 0
for turn in range(25):
    version = find_version(catalogue, f"acme@{1 + (me + turn) % 4}")
    try:
        promote(
            catalogue, version, Standard(thresholds="t", base="b"), by=str(me), force_reason="race"
        )
        done += 1
    except CopydeskError as error:
        assert type(error).__name__ == "AlreadyThere", error
    assert live_version(catalogue, "acme").number in {1, 2, 3, 4}
print(done)
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Generator[Catalogue]:
    opened = Catalogue(tmp_path)
    for name in ("acme", "bolt"):
        opened.add_client(name)
    yield opened
    opened.close()


def force(catalogue: Catalogue, ref: str, reason: str = "for the test") -> None:
    promote(catalogue, find_version(catalogue, ref), STANDARD, by="me", force_reason=reason)


def test_before_any_promotion_the_newest_speaks_and_afterwards_the_promoted(
    catalogue: Catalogue,
) -> None:
    first, second = add(catalogue), add(catalogue)
    assert live_version(catalogue, "acme") == second == find_version(catalogue, "acme")
    assert promoted_number(catalogue, "acme") is None
    judge(catalogue, first)
    done = promote(catalogue, first, STANDARD, by="me")
    assert (done.version, done.previous, done.forced, done.by) == ("acme@1", 2, False, "me")
    assert live_version(catalogue, "acme") == first == find_version(catalogue, "acme")
    add(catalogue)
    assert live_version(catalogue, "acme") == first, "what is trained later waits"
    assert find_version(catalogue, "acme@2") == second


def test_a_version_is_promoted_by_its_newest_evaluation_alone(catalogue: Catalogue) -> None:
    version = add(catalogue)
    with pytest.raises(NotPassed, match=r"never asked.*copydesk eval acme@1"):
        promote(catalogue, version, STANDARD, by="me")
    judge(catalogue, version)
    judge(catalogue, version, gate(), gate("voice", 0.1), gate("canaries", 0.2))
    with pytest.raises(NotPassed, match="gates: voice, canaries"):
        promote(catalogue, version, STANDARD, by="me")
    assert history(catalogue, "acme") == () and promoted_number(catalogue, "acme") is None
    passed = judge(catalogue, version)
    assert promote(catalogue, version, STANDARD, by="me").evaluation == passed.id
    assert [item.passed for item in evaluations(catalogue, "acme")] == [True, False, True]
    assert newest_evaluation(catalogue, "acme", 1) == passed


@pytest.mark.parametrize(
    ("standard", "changed"),
    [
        (Standard(thresholds="other", base="b"), "the thresholds"),
        (Standard(thresholds="t", base="other"), "the base"),
        (Standard(thresholds="x", base="x"), "the thresholds and the base"),
    ],
)
def test_an_evaluation_counts_only_for_what_it_was_made_by(
    catalogue: Catalogue, standard: Standard, changed: str
) -> None:
    version = add(catalogue)
    judge(catalogue, version)
    with pytest.raises(NotPassed, match=f"before {changed} changed"):
        promote(catalogue, version, standard, by="me")


def test_an_evaluation_against_another_live_version_does_not_count(catalogue: Catalogue) -> None:
    for _ in range(3):
        judge(catalogue, add(catalogue))
    promote(catalogue, find_version(catalogue, "acme@1"), STANDARD, by="me")
    second = find_version(catalogue, "acme@2")
    with pytest.raises(NotPassed, match="before the live version changed"):
        promote(catalogue, second, STANDARD, by="me")
    judge(catalogue, second, against=1)
    promote(catalogue, second, STANDARD, by="me")
    judge(catalogue, find_version(catalogue, "acme@3"), against=1)
    with pytest.raises(NotPassed, match="the live version"):
        promote(catalogue, find_version(catalogue, "acme@3"), STANDARD, by="me")


def test_force_passes_the_gates_over_and_is_recorded(catalogue: Catalogue) -> None:
    version = add(catalogue)
    judge(catalogue, version, gate(value=0.0))
    for empty in ("", "  \n"):
        with pytest.raises(InvalidInput, match="needs a reason"):
            promote(catalogue, version, STANDARD, by="me", force_reason=empty)
    promote(catalogue, version, STANDARD, by="me", force_reason=" The client asked. ")
    (entry,) = history(catalogue, "acme")
    assert (entry.forced, entry.reason, entry.evaluation) == (True, "The client asked.", None)


def test_what_speaks_by_promotion_is_not_promoted_again(catalogue: Catalogue) -> None:
    add(catalogue)
    force(catalogue, "acme@1")
    with pytest.raises(AlreadyThere, match="acme@1 speaks"):
        force(catalogue, "acme@1")
    assert len(history(catalogue, "acme")) == 1


def test_rollback_goes_back_step_by_step_and_then_says_that_nothing_is_left(
    catalogue: Catalogue,
) -> None:
    for _ in range(4):
        add(catalogue)
    for ref in ("acme@2", "acme@3", "acme@1"):
        force(catalogue, ref)
    spoke: list[int] = []
    for _ in range(3):
        done = rollback(catalogue, "acme", by="me", reason="no")
        assert done.action == "rollback"
        spoke.append(live_version(catalogue, "acme").number)
    assert spoke == [3, 2, 4], "4 was the newest, and spoke before the first promotion"
    with pytest.raises(InvalidInput, match="nothing before acme@4"):
        rollback(catalogue, "acme", by="me")
    force(catalogue, "acme@1")
    assert rollback(catalogue, "acme", by="me").number == 4
    with pytest.raises(InvalidInput, match="promoted no version"):
        rollback(catalogue, "bolt", by="me")
    with pytest.raises(UnknownName, match="nobody"):
        rollback(catalogue, "nobody", by="me")


def test_two_who_go_back_at_once_go_back_once(catalogue: Catalogue) -> None:
    for _ in range(3):
        add(catalogue)
    for ref in ("acme@1", "acme@2", "acme@3"):
        force(catalogue, ref)
    rollback(catalogue, "acme", by="one", expected=3)
    with pytest.raises(InUse, match="acme@3 does not speak"):
        rollback(catalogue, "acme", by="other", expected=3)
    assert live_version(catalogue, "acme").number == 2


def test_rollback_passes_over_versions_that_are_gone(catalogue: Catalogue) -> None:
    for _ in range(3):
        add(catalogue)
    for ref in ("acme@1", "acme@2", "acme@3"):
        force(catalogue, ref)
    catalogue.forget(catalogue.entries("versions", "acme")[1])
    assert rollback(catalogue, "acme", by="me").number == 1


def test_a_promoted_version_that_is_gone_is_named_and_no_other_speaks(
    catalogue: Catalogue,
) -> None:
    for _ in range(2):
        add(catalogue)
    force(catalogue, "acme@1")
    catalogue.forget(catalogue.entries("versions", "acme")[0])
    with pytest.raises(Damaged, match=r"acme@1 was promoted.*history acme"):
        live_version(catalogue, "acme")


def test_history_is_in_the_order_of_writing_when_the_clock_goes_backwards(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        add(catalogue)
    years = iter(["2031", "2029", "1970"])
    monkeypatch.setattr("copydesk.registry._history.now", lambda: f"{next(years)}-01-01")
    for ref in ("acme@1", "acme@2"):
        force(catalogue, ref)
    rollback(catalogue, "acme", by="me")
    assert [(item.action, item.number) for item in history(catalogue, "acme")] == [
        ("promote", 1),
        ("promote", 2),
        ("rollback", 1),
    ]
    assert live_version(catalogue, "acme").number == 1


def test_a_deleted_client_leaves_no_row(catalogue: Catalogue) -> None:
    for _ in range(2):
        judge(catalogue, add(catalogue))
    force(catalogue, "acme@1")
    version = find_version(catalogue, "acme@2")
    promote(catalogue, version, STANDARD, by="me", force_reason="x", canary=CanaryRules(share=0.5))
    catalogue.remove_client("acme")
    for table in ("evaluations", "promotions", "live", "canaries", "outcomes"):
        assert catalogue.rows(f"SELECT * FROM {table}") == [], table
    with pytest.raises(UnknownName):
        judge(catalogue, version)
    with pytest.raises(UnknownName):
        promote(catalogue, version, STANDARD, by="me", force_reason="x")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gate_without_a_figure_is_not_kept(catalogue: Catalogue, value: float) -> None:
    version = add(catalogue)
    with pytest.raises(ValueError, match="JSON"):
        judge(catalogue, version, gate(value=value))
    assert evaluations(catalogue, "acme") == ()


def test_gates_know_their_side() -> None:
    for bound, wanted in (("least", [False, True, True]), ("most", [True, True, False])):
        said = [
            GateResult(name="g", value=value, threshold=1.0, bound=bound).passed
            for value in (0.9, 1.0, 1.1)
        ]
        assert said == wanted


def test_a_row_that_was_tampered_with_is_named(catalogue: Catalogue) -> None:
    judge(catalogue, add(catalogue))
    with catalogue.writing() as db:
        db.execute("UPDATE evaluations SET gates = '[{\"name\": 1}]'")
    with pytest.raises(Damaged, match="copydesk eval acme@1"):
        newest_evaluation(catalogue, "acme", 1)


def test_promotions_of_many_processes_are_one_after_another(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    for _ in range(4):
        add(catalogue)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CONTEND, str(tmp_path), str(me)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in range(4)
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    told = [child.communicate("go\n", timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 4
    entries = history(catalogue, "acme")
    assert len(entries) == sum(map(int, told))
    spoke: int | None = 4
    for entry in entries:
        assert entry.previous == (None if entry.number == spoke else spoke), "nothing was lost"
        spoke = entry.number
    assert live_version(catalogue, "acme").number == spoke


def test_another_version_can_be_promoted_when_the_live_one_is_gone(catalogue: Catalogue) -> None:
    for _ in range(2):
        add(catalogue)
    force(catalogue, "acme@1")
    catalogue.forget(catalogue.entries("versions", "acme")[0])
    force(catalogue, "acme@2")
    assert live_version(catalogue, "acme").number == 2
    with pytest.raises(InvalidInput, match="nothing before acme@2"):
        rollback(catalogue, "acme", by="me")
