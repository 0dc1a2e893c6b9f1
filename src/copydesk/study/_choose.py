"""Choose a method and its settings, and say why.

Each method is reckoned to reach a share of full fine-tuning's gain over the untuned base: what
publications lead to expect, by `rules.toml`, and what comparisons of this workspace measured, each
by the inverse of its variance. A method that comparisons do not tell from the one it is counted
from is tied with it. Burdens, in the same points, are taken off; what cannot be used is left out;
the most points win, and of equals the cheaper.
"""

from collections.abc import Mapping, Sequence

from copydesk.errors import InvalidInput, OutOfMemory
from copydesk.models import find_method
from copydesk.records import Choice, Comparison, Reason
from copydesk.study._changes import would_change
from copydesk.study._evidence import Z95, best_rate
from copydesk.study._judge import Firing, Judged, judge, ranking
from copydesk.study._rules import Rules, label, read_rules
from copydesk.study._situation import Situation

MOST_REASONS = 7
_DIFFERENCES = 2
_SEEN = 0.05
"""Points below which a rule makes no difference worth a reason."""


def choose(situation: Situation, rules: Rules | None = None) -> Choice:
    """The method with the most points in a situation, with its settings and reasons.

    Args:
        situation: what is known; what is not decides nothing.
        rules: those to choose by; None is those that ship with Copydesk.

    Raises:
        InvalidInput: no method can be used, or none is a candidate; says what rules each out.
        OutOfMemory: memory rules all of them out.
    """
    rules = rules or read_rules()
    judged = judge(situation, rules)
    ranked = ranking(situation, rules, judged)
    if not ranked:
        raise _nothing_fits([judged[method] for method in situation.candidates])
    best, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    settings = dict(best.settings)
    rate = best_rate(situation, best.method)
    if rate:
        settings["learning_rate"] = f"{rate[0]:.3g}"
    reasons = [
        *_measured(best, second, judged, rules),
        *_left_out(best, [judged[method] for method in situation.candidates]),
        *_differences(best, second, judged, rules),
        *(_reason(one) for one in best.setting_firings),
    ]
    if rate:
        text = f"Learning rate {rate[0]:.3g}: what sweeps here found best."
        reasons.insert(0, Reason(text=text, source=_named(rate[1])))
    return Choice(
        method=best.method,
        settings=settings,
        reasons=tuple(dict.fromkeys(reasons))[:MOST_REASONS],
        runner_up=second.method if second else "",
        would_change=would_change(situation, rules, best, second) if second else (),
        scores={one.method: round(one.score, 1) for one in ranked},
    )


def _nothing_fits(judged: Sequence[Judged]) -> InvalidInput | OutOfMemory:
    if not judged:
        return InvalidInput("There is no method to choose from", todo="Name some candidates.")
    memory = {"memory_share", "ran_out_of_memory"}
    short_of_memory = all(
        any(condition.fact in memory for condition in one.rule.when)
        for item in judged
        for one in item.exclusions
    )
    why = " ".join(item.exclusions[0].text for item in judged)
    kind = OutOfMemory if short_of_memory else InvalidInput
    return kind(
        f"No method can be used here. {why}",
        todo="Allow more memory or budget, use fewer pages or a smaller base, or name a method "
        "with --method.",
    )


def _chain(one: Judged, judged: Mapping[str, Judged], rules: Rules) -> list[Judged]:
    """The method, then what it is counted from, up to full fine-tuning, which all end at."""
    found = [one]
    while found[-1].method != "full":
        found.append(judged[rules.relative_to[found[-1].method]])
    return found


def _measured(
    best: Judged, second: Judged | None, judged: Mapping[str, Judged], rules: Rules
) -> list[Reason]:
    """What comparisons here say of the two best, and of what they are counted from."""
    asked = [*_chain(best, judged, rules), *(_chain(second, judged, rules) if second else ())]
    reasons: list[Reason] = []
    for one in dict.fromkeys(item.method for item in asked):
        found = judged[one].estimate
        if found.measured is None:
            continue
        ends = [found.value - Z95 * found.sd, found.value + Z95 * found.sd]
        count = len(found.comparisons)
        text = (
            f"{label(one)} had {found.measured:.0f}% of full fine-tuning's gain in {count} "
            f"comparison{'s' if count > 1 else ''} here; with {100 * found.weight:.0f}% of the "
            f"weight against what publications lead to expect, that makes {found.value:.0f}% "
            f"(95% interval {ends[0]:.0f} to {ends[1]:.0f})"
        )
        if judged[one].tied:
            anchor = label(rules.relative_to[one])
            text += f", which is a tie with {anchor[0].lower()}{anchor[1:]}: the cheaper is taken"
        reasons.append(Reason(text=f"{text}.", source=_named(found.comparisons)))
    return reasons


def _named(comparisons: Sequence[Comparison]) -> str:
    shown = [f"{one.client} ({one.created[:10]})" for one in comparisons[:3]]
    rest = len(comparisons) - len(shown)
    more = f" and {rest} more" if rest > 0 else ""
    return f"comparisons of this workspace: {', '.join(shown)}{more}"


def _left_out(best: Judged, judged: Sequence[Judged]) -> list[Reason]:
    """Methods of at least this quality that cannot be used, the likeliest two."""
    better = [one for one in judged if one.exclusions and one.quality >= best.quality]
    better.sort(key=lambda one: -one.score)
    return [_reason(one.exclusions[0]) for one in better[:2]]


def _differences(
    best: Judged, second: Judged | None, judged: Mapping[str, Judged], rules: Rules
) -> list[Reason]:
    """What backs the best, then the rules that part it from the second, from LoRA and from full.

    Of the latter two the greatest only: whether one or the other is what most readers ask.
    """
    ours = _firings(best, judged, rules)
    found = [_reason(firing) for firing in ours.values() if not firing.points]
    rivals = [*([second.method] if second else []), "lora", "full"]
    for rival in dict.fromkeys(rivals):
        if rival != best.method and rival in judged and not judged[rival].exclusions:
            most = _DIFFERENCES if second and rival == second.method else 1
            found += _parting(best, judged[rival], judged, rules)[:most]
    return found


def _parting(
    best: Judged, rival: Judged, judged: Mapping[str, Judged], rules: Rules
) -> list[Reason]:
    """The rules that part two methods, the greatest difference first."""
    ours, theirs = _firings(best, judged, rules), _firings(rival, judged, rules)
    parted: list[tuple[float, Reason]] = []
    for name in dict.fromkeys([*ours, *theirs]):
        mine, other = ours.get(name), theirs.get(name)
        gap = (mine.points if mine else 0.0) - (other.points if other else 0.0)
        if abs(gap) < _SEEN:
            continue
        shown = max((one for one in (mine, other) if one), key=lambda one: abs(one.points))
        name = find_method((best if shown is mine else rival).method).label
        side = "for" if shown.points > 0 else "against"
        text = f"{shown.text} That counts {abs(shown.points):.1f} points {side} {name}."
        parted.append((abs(gap), Reason(text=text, source=shown.rule.source)))
    parted.sort(key=lambda pair: -pair[0])
    return [reason for _, reason in parted]


def _firings(one: Judged, judged: Mapping[str, Judged], rules: Rules) -> dict[str, Firing]:
    """Rules that count for a method, by name: its own, and quality rules of its anchors."""
    found = {firing.rule.name: firing for firing in one.firings}
    for anchor in _chain(one, judged, rules)[1:]:
        for firing in anchor.firings:
            if firing.rule.effect == "quality":
                found.setdefault(firing.rule.name, firing)
    return found


def _reason(firing: Firing) -> Reason:
    return Reason(text=firing.text, source=firing.rule.source)
