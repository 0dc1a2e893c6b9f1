"""Which candidate is taken."""

import itertools
from collections.abc import Sequence

from copydesk.content._choose import choose
from copydesk.records import Brief, Draft, Finding, Severity


def finding(severity: Severity) -> Finding:
    return Finding(
        family="length", rule="r", severity=severity, start=0, end=0, message="m", source="s"
    )


ERROR, WARNING, INFO = finding("error"), finding("warning"), finding("info")


def taken(voices: Sequence[float | None], findings: Sequence[Sequence[Finding]]) -> int:
    """Which of the drafts is chosen."""
    drafts = [
        Draft(
            client="acme",
            version="acme@1",
            brief=Brief(title="t", format="blog"),
            title="t",
            slug="t",
            meta_description="",
            text=str(index),
            findings=tuple(found),
        )
        for index, found in enumerate(findings)
    ]
    return int(choose(drafts, range(len(drafts)), voice=lambda draft: voices[int(draft.text)]).text)


def test_errors_come_before_voice_and_voice_before_warnings() -> None:
    assert taken([0.9, 0.2], [[ERROR], [WARNING, WARNING]]) == 1
    assert taken([0.2, 0.9], [[], [WARNING]]) == 1
    assert taken([0.5, 0.5, 0.5], [[WARNING], [INFO, INFO], [WARNING, WARNING]]) == 1


def test_differences_within_the_calibration_error_leave_it_to_warnings() -> None:
    assert taken([0.93, 0.91], [[WARNING], []]) == 1
    assert taken([0.97, 0.91], [[WARNING], []]) == 0


def test_a_draft_whose_voice_cannot_be_told_stands_behind() -> None:
    assert taken([None, 0.01], [[], []]) == 1
    assert taken([None, 0.01], [[], [ERROR]]) == 0


def test_the_choice_does_not_depend_on_the_order_given() -> None:
    cases = [(0.9, [ERROR]), (0.5, [WARNING]), (0.5, []), (None, []), (0.1, [])]
    for given in itertools.permutations(cases):
        found = taken([voice for voice, _ in given], [found for _, found in given])
        assert given[found] == (0.5, [])
