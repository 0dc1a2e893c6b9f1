"""Which candidate is taken."""

import itertools

from copydesk.content import rank_candidates
from copydesk.records import Finding, Severity


def finding(severity: Severity, family: str = "length") -> Finding:
    return Finding(
        family=family, rule="r", severity=severity, start=0, end=0, message="m", source="s"
    )


ERROR, WARNING, INFO = finding("error"), finding("warning"), finding("info")


def order(voices: list[float | None], findings: list[list[Finding]]) -> list[int]:
    texts = [str(index) for index in range(len(voices))]
    ranked = rank_candidates(texts, lambda text: voices[int(text)], findings)
    assert [one.voice for one in ranked] == [voices[one.index] for one in ranked]
    return [one.index for one in ranked]


def test_errors_come_before_voice_and_voice_before_warnings() -> None:
    assert order([0.9, 0.2], [[ERROR], [WARNING, WARNING]]) == [1, 0]
    assert order([0.2, 0.9], [[], [WARNING]]) == [1, 0]
    assert order([0.5, 0.5, 0.5], [[WARNING], [INFO, INFO], [WARNING, WARNING]]) == [1, 0, 2]


def test_differences_within_the_calibration_error_leave_it_to_warnings() -> None:
    assert order([0.93, 0.91], [[WARNING], []]) == [1, 0]
    assert order([0.97, 0.91], [[WARNING], []]) == [0, 1]


def test_unjudged_texts_stand_behind_judged_ones() -> None:
    assert order([None, 0.01], [[], []]) == [1, 0]
    without = rank_candidates(["a", "b"], None, [[WARNING], []])
    assert [(one.index, one.voice) for one in without] == [(1, None), (0, None)]


def test_a_voice_finding_is_not_counted_twice() -> None:
    assert order([0.3, 0.3], [[finding("warning", "voice")], []]) == [0, 1]


def test_the_order_does_not_depend_on_the_order_given() -> None:
    cases = [(0.9, [ERROR]), (0.5, [WARNING]), (0.5, []), (None, []), (0.1, [])]
    best = [(0.5, []), (0.5, [WARNING]), (0.1, []), (None, []), (0.9, [ERROR])]
    for given in itertools.permutations(cases):
        ranked = order([voice for voice, _ in given], [found for _, found in given])
        assert [given[index] for index in ranked] == best
