"""What would change a choice's mind: the nearest situation in which the runner-up would win.

Found by asking, not by reasoning: one fact at a time is moved away from what it is until the
runner-up is chosen, and the turning point is closed in on. What is said was tried.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from copydesk.study._judge import Judged, judge, ranking
from copydesk.study._rules import Rules, label, said
from copydesk.study._situation import Situation

MOST = 4
_STEPS = 12
"""Doublings that a fact is moved by at most."""
_CLOSER = 12
"""Halvings of the gap around a turning point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Direction:
    """A fact, moved one way."""

    values: Sequence[float]
    """From the present value outward."""
    situation: Callable[[float], Situation]
    text: str
    """What is said of the turning point, which `{}` stands for."""
    fact: str
    whole: bool = False


def would_change(
    situation: Situation, rules: Rules, chosen: Judged, runner_up: Judged
) -> tuple[str, ...]:
    """Sentences, each naming a changed fact with which the runner-up would be chosen."""

    def turned(changed: Situation, shares: Mapping[str, float] | None = None) -> bool:
        judged = judge(changed, rules, shares)
        best = ranking(changed, rules, judged)
        return bool(best) and best[0].method == runner_up.method

    found: list[str] = []
    measured = _measured_share(chosen, runner_up, lambda shares: turned(situation, shares))
    if measured:
        found.append(measured)
    for direction in _directions(situation, chosen):
        value = _turning_point(direction, turned)
        if value is not None:
            found.append(direction.text.format(said(direction.fact, value)))
    for changed, text in (
        (replace(situation, latency="lowest"), "Generation has to be as fast as the plain base's."),
        (replace(situation, purpose="foundation"), "It is a foundation, for adapters to stand on."),
    ):
        if changed != situation and turned(changed):
            found.append(text)
    return tuple(found[:MOST])


def _measured_share(
    chosen: Judged, runner_up: Judged, turned: Callable[[Mapping[str, float]], bool]
) -> str | None:
    """The share of full's gain, measured, at which the order of the two turns.

    A method that nobody measured follows its kin, so that where the chosen one's share turns
    nothing, the runner-up's own may.
    """
    for method, down in ((chosen, True), (runner_up, False)):
        if method.method == "full":
            continue  # the others' shares are of its gain
        start = math.floor(method.quality) if down else math.ceil(method.quality)
        for share in range(start, -1, -1) if down else range(start, 201):
            if turned({method.method: float(share)}):
                side = "below" if down else "at or above"
                edge = share + 1 if down else share
                return (
                    f"Comparisons here put {label(method.method)} {side} {edge}% of full "
                    f"fine-tuning's gain (now reckoned at {method.quality:.0f}%)."
                )
    return None


def _directions(situation: Situation, chosen: Judged) -> list[_Direction]:
    seconds = chosen.facts["run_seconds"]
    timed = situation.budget_seconds is not None
    now = situation.budget_seconds if timed else float(seconds) if seconds else None
    return [
        *_ways(
            "clients",
            situation.clients,
            lambda value: replace(situation, clients=round(value)),
            "There are {} clients",
            whole=True,
        ),
        *_ways(
            "memory_bytes",
            situation.memory_bytes,
            lambda value: replace(situation, memory_bytes=round(value)),
            "Memory is {}",
        ),
        *_ways(
            "budget_seconds",
            now,
            lambda value: replace(situation, budget_seconds=value),
            "There is time for {}" if timed else "The run may take {}",
            ways=(-1, 1) if timed else (-1,),
        ),
        *_ways(
            "budget_usd",
            situation.budget_usd,
            lambda value: replace(situation, budget_usd=value),
            "The budget is {}",
        ),
        *_ways(
            "pages",
            situation.pages,
            lambda value: _with_pages(situation, round(value)),
            "There are {} pages",
            whole=True,
        ),
        *_ways(
            "updates_month",
            situation.updates_month or 1.0,
            lambda value: replace(situation, updates_month=value),
            "It is trained {} times a month",
            ways=(1, -1) if situation.updates_month else (1,),
        ),
    ]


def _ways(
    fact: str,
    start: float | None,
    change: Callable[[float], Situation],
    text: str,
    *,
    whole: bool = False,
    ways: Sequence[int] = (1, -1),
) -> list[_Direction]:
    """A fact moved up and down, or one way only; nothing where it is not known."""
    if not start:
        return []
    found: list[_Direction] = []
    for way in ways:
        values = [start * 2.0 ** (way * step) for step in range(1, _STEPS + 1)]
        if whole:
            values = list(dict.fromkeys(max(1.0, float(round(value))) for value in values))
        found.append(
            _Direction(
                values=[start, *(value for value in values if value != start)],
                situation=change,
                text=f"{text} or {'more' if way > 0 else 'less'} (now {said(fact, start)}).",
                fact=fact,
                whole=whole,
            )
        )
    return found


def _with_pages(situation: Situation, pages: int) -> Situation:
    """More or fewer pages of the same length, with time and price in proportion."""
    times = pages / situation.pages
    forecasts = {
        method: replace(
            forecast,
            epoch_seconds=None
            if forecast.epoch_seconds is None
            else forecast.epoch_seconds * times,
            cost_usd=None if forecast.cost_usd is None else forecast.cost_usd * times,
        )
        for method, forecast in situation.forecasts.items()
    }
    return replace(
        situation, pages=pages, tokens=max(1, round(situation.tokens * times)), forecasts=forecasts
    )


def _turning_point(direction: _Direction, turned: Callable[[Situation], bool]) -> float | None:
    """The value nearest to the present one that was found to turn the choice; None without one."""
    before = direction.values[0]
    for value in direction.values[1:]:
        if turned(direction.situation(value)):
            return _close_in(direction, turned, before, value)
        before = value
    return None


def _close_in(
    direction: _Direction, turned: Callable[[Situation], bool], near: float, far: float
) -> float:
    for _ in range(_CLOSER):
        middle = math.sqrt(near * far)
        if direction.whole:
            middle = float(round(middle))
        if middle in (near, far):
            break
        if turned(direction.situation(middle)):
            far = middle
        else:
            near = middle
    if direction.whole:
        return far
    # Two digits are said, so they are what must hold: rounded away from the present value.
    scale = 10.0 ** (math.floor(math.log10(far)) - 1)
    return (math.ceil if far > near else math.floor)(far / scale) * scale
