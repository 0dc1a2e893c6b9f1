"""Canaries: which requests they get, and when they end by themselves."""

import math
import random
from collections.abc import Generator
from pathlib import Path

import pytest
from factories import STANDARD, add, judge

from copydesk.errors import AlreadyThere, InUse, InvalidInput, NotPassed, UnknownName
from copydesk.registry import (
    CanaryRules,
    evidence,
    find_version,
    history,
    live_version,
    outcomes,
    promote,
    report_outcome,
    rollback,
    running_canary,
    version_for,
)
from copydesk.store import Catalogue


@pytest.fixture
def catalogue(tmp_path: Path) -> Generator[Catalogue]:
    opened = Catalogue(tmp_path)
    opened.add_client("acme")
    promote(opened, add(opened), STANDARD, by="me", force_reason="first")
    add(opened)
    yield opened
    opened.close()


def begin(catalogue: Catalogue, share: float = 0.2, **rules: float) -> None:
    judge(catalogue, find_version(catalogue, "acme@2"), against=1)
    promote(
        catalogue,
        find_version(catalogue, "acme@2"),
        STANDARD,
        by="me",
        canary=CanaryRules(share=share, **rules),
    )


def tell(catalogue: Catalogue, number: int, *, findings: bool = False, error: bool = False) -> str:
    done = report_outcome(catalogue, "acme", number, findings=findings, error=error)
    return done.action if done else ""


def test_a_canary_gets_its_share_of_requests_and_each_request_one_version(
    catalogue: Catalogue,
) -> None:
    begin(catalogue)
    given = {
        name: version_for(catalogue, "acme", name).number
        for name in (f"request-{n}" for n in range(2000))
    }
    # Four standard deviations of a share of 0.2 among 2000.
    assert abs(list(given.values()).count(2) / 2000 - 0.2) < 0.036
    for name in random.Random(0).sample(sorted(given), 50):
        assert version_for(catalogue, "acme", name).number == given[name]
    assert live_version(catalogue, "acme").number == find_version(catalogue, "acme").number == 1
    for strange in ("", "\ud800", "x" * 100_000):
        assert version_for(catalogue, "acme", strange).number in (1, 2)


def test_a_named_version_is_given_whatever_the_canary_says(catalogue: Catalogue) -> None:
    begin(catalogue, share=0.999)
    assert version_for(catalogue, "acme@1", "r").number == 1
    with pytest.raises(UnknownName):
        version_for(catalogue, "acme@7", "r")


def test_who_is_drawn_differs_from_canary_to_canary(catalogue: Catalogue) -> None:
    names = [f"r{n}" for n in range(200)]
    drawn: list[list[int]] = []
    for _ in range(2):
        begin(catalogue, share=0.5)
        drawn.append([version_for(catalogue, "acme", name).number for name in names])
        rollback(catalogue, "acme", by="me")
    assert drawn[0] != drawn[1]


def test_a_canary_that_goes_wrong_is_stopped_and_the_live_version_goes_on(
    catalogue: Catalogue,
) -> None:
    begin(catalogue, share=0.1)
    told: list[str] = []
    while not any(told) and len(told) < 30:
        told += [tell(catalogue, 2, findings=True) or tell(catalogue, 1)]
    assert told[-1] == "canary-stopped" and len(told) < 10
    entry = history(catalogue, "acme")[-1]
    assert entry.by == "copydesk" and "more findings than 1.5 times" in entry.reason
    assert running_canary(catalogue, "acme") is None
    assert live_version(catalogue, "acme").number == 1
    assert {version_for(catalogue, "acme", f"r{n}").number for n in range(100)} == {1}
    with pytest.raises(InvalidInput, match="nothing before"):
        rollback(catalogue, "acme", by="me")


def test_errors_stop_a_canary_too(catalogue: Catalogue) -> None:
    begin(catalogue, share=0.1)
    told = [tell(catalogue, 2, error=True) for _ in range(6)]
    assert "canary-stopped" in told
    assert "more errors" in history(catalogue, "acme")[-1].reason


def test_a_canary_that_lasts_speaks_for_all(catalogue: Catalogue) -> None:
    begin(catalogue, share=0.5, requests=40)
    told = [tell(catalogue, 2, findings=n % 4 == 0) or tell(catalogue, 1, findings=n % 4 == 0)
            for n in range(39)]  # fmt: skip
    assert not any(told)
    assert tell(catalogue, 2) == "canary-finished"
    assert live_version(catalogue, "acme").number == 2
    entry = history(catalogue, "acme")[-1]
    assert entry.evaluation is not None and not entry.forced and "40 requests" in entry.reason
    assert rollback(catalogue, "acme", by="me").number == 1


def test_a_canary_ends_by_hand_either_way(catalogue: Catalogue) -> None:
    begin(catalogue)
    assert rollback(catalogue, "acme", by="me").action == "canary-stopped"
    assert live_version(catalogue, "acme").number == 1
    begin(catalogue)
    done = promote(catalogue, find_version(catalogue, "acme@2"), STANDARD, by="me")
    assert (done.action, done.number) == ("canary-finished", 2)
    assert live_version(catalogue, "acme").number == 2


def test_one_canary_at_a_time_and_nothing_is_promoted_beside_it(catalogue: Catalogue) -> None:
    third = add(catalogue)
    begin(catalogue)
    for canary in (None, CanaryRules(share=0.1)):
        with pytest.raises(InUse, match=r"canary of acme@2 is running.*rollback acme"):
            promote(catalogue, third, STANDARD, by="me", force_reason="x", canary=canary)
    with pytest.raises(InUse):
        begin(catalogue)


def test_a_canary_needs_passed_gates_and_something_to_be_compared_with(
    catalogue: Catalogue,
) -> None:
    rules = CanaryRules(share=0.1)
    second = find_version(catalogue, "acme@2")
    with pytest.raises(NotPassed):
        promote(catalogue, second, STANDARD, by="me", canary=rules)
    first = find_version(catalogue, "acme@1")
    with pytest.raises(AlreadyThere):
        promote(catalogue, first, STANDARD, by="me", force_reason="x", canary=rules)


def test_before_any_promotion_a_canary_pins_what_spoke(catalogue: Catalogue) -> None:
    catalogue.add_client("bolt")
    first, second = add(catalogue, "bolt"), add(catalogue, "bolt")
    judge(catalogue, first)
    promote(catalogue, first, STANDARD, by="me", canary=CanaryRules(share=0.5, requests=1))
    add(catalogue, "bolt")
    assert live_version(catalogue, "bolt") == second, "the newest is not what was compared with"
    report_outcome(catalogue, "bolt", 1, findings=False, error=False)
    assert live_version(catalogue, "bolt") == first
    assert rollback(catalogue, "bolt", by="me").number == 2


def test_outcomes_are_counted_without_a_canary_too(catalogue: Catalogue) -> None:
    tell(catalogue, 1, findings=True)
    tell(catalogue, 1, error=True)
    begin(catalogue)
    tell(catalogue, 1)
    canary = running_canary(catalogue, "acme")
    assert canary is not None and canary.live.requests == 1 and canary.candidate.requests == 0
    found = outcomes(catalogue, "acme", 1)
    assert (found.requests, found.findings, found.errors) == (3, 1, 1)
    for client, number in (("acme", 9), ("nobody", 1)):
        with pytest.raises(UnknownName):
            report_outcome(catalogue, client, number, findings=False, error=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 0},
        {"share": 1},
        {"share": math.nan},
        {"requests": 0},
        {"ratio": 0.5},
        {"alpha": 1},
    ],
)
def test_rules_that_cannot_be_run_by_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        CanaryRules(**{"share": 0.1} | wrong)


def test_the_evidence_is_the_mean_likelihood_ratio() -> None:
    share, ratio = 0.1, 1.5

    def probability(times: float) -> float:
        return share * ratio * times / (share * ratio * times + 0.9)

    allowed = probability(1)
    wanted = sum(
        (probability(times) / allowed) ** 5 * ((1 - probability(times)) / (1 - allowed)) ** 3
        for times in (2, 4, 8, 16)
    )
    found = evidence(5, 3, share=share, ratio=ratio)
    assert math.exp(found) == pytest.approx(wanted / 4)
    assert evidence(0, 0, share=share, ratio=ratio) == 0
    assert evidence(10**6, 10**6, share=share, ratio=ratio) > 10**5, "no overflow"


def test_the_evidence_has_a_mean_of_one_where_the_candidate_is_as_bad_as_allowed() -> None:
    """Summed over all ways that a few requests can go wrong: what Ville's inequality stands on."""
    share, ratio, wrong = 0.2, 1.5, 12
    allowed = share * ratio / (share * ratio + 1 - share)
    mean = sum(
        math.comb(wrong, mine)
        * allowed**mine
        * (1 - allowed) ** (wrong - mine)
        * math.exp(evidence(mine, wrong - mine, share=share, ratio=ratio))
        for mine in range(wrong + 1)
    )
    assert mean == pytest.approx(1)


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_few_good_candidates_are_stopped_and_most_bad_ones_soon(rate: float) -> None:
    """Looking after every request for 400 of the candidate's, as `report_outcome` does."""
    rules = CanaryRules(share=0.2)
    limit = math.log(2 / rules.alpha)

    def stopped(times: float, seed: int) -> int | None:
        draw, wrong = random.Random(seed), [0, 0]
        for request in range(2000):
            candidate = draw.random() < rules.share
            if draw.random() < rate * (times if candidate else 1):
                wrong[candidate] += 1
                if evidence(wrong[1], wrong[0], share=rules.share, ratio=rules.ratio) >= limit:
                    return request
        return None

    good = [stopped(1.5, seed) for seed in range(400)]
    # 0.005 are expected at most; 4 standard deviations above it.
    assert sum(end is not None for end in good) / 400 < 0.02
    bad = [stopped(3.3 if rate > 0.1 else 15, seed) for seed in range(40)]
    assert sum(end is not None for end in bad) >= 36


def test_a_canary_is_not_judged_by_what_it_did_not_draw(catalogue: Catalogue) -> None:
    begin(catalogue)
    first = running_canary(catalogue, "acme")
    assert first is not None
    rollback(catalogue, "acme", by="me")
    begin(catalogue)
    second = running_canary(catalogue, "acme")
    assert second is not None and second.id != first.id
    for drawn_by in (0, first.id):
        report_outcome(catalogue, "acme", 2, findings=True, error=False, drawn_by=drawn_by)
    assert outcomes(catalogue, "acme", 2, canary=second.id).requests == 0
    report_outcome(catalogue, "acme", 2, findings=True, error=False, drawn_by=second.id)
    assert outcomes(catalogue, "acme", 2, canary=second.id).findings == 1
    assert outcomes(catalogue, "acme", 2).requests == 3, "all count for the version"


def test_a_candidate_that_is_gone_answers_nobody(catalogue: Catalogue) -> None:
    begin(catalogue, share=0.9)
    catalogue.forget(catalogue.entries("versions", "acme")[1])
    assert {version_for(catalogue, "acme", f"r{n}").number for n in range(20)} == {1}
