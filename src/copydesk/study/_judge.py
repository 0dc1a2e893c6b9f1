"""Score every method in a situation: expected share of full fine-tuning's gain, minus burdens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from copydesk.study._evidence import Z95, Estimate, estimate
from copydesk.study._rules import Rule, Rules
from copydesk.study._situation import Fact, Situation, facts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A rule that applied to a method."""

    rule: Rule
    points: float
    """For the method; of a quality rule, as far as comparisons here leave it standing."""
    facts: Mapping[str, Fact]

    @property
    def text(self) -> str:
        """The rule's sentence, with the numbers it rests on."""
        return self.rule.reason(self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A method in a situation."""

    method: str
    settings: Mapping[str, str]
    facts: Mapping[str, Fact]
    estimate: Estimate
    """Its share of full fine-tuning's gain, before ties."""
    quality: float
    """The share that counts: that of `relative_to` where the two are tied."""
    tied: bool
    """Whether comparisons here do not tell it from the method it is counted from."""
    firings: tuple[Firing, ...] = ()
    exclusions: tuple[Firing, ...] = ()
    setting_firings: tuple[Firing, ...] = ()

    @property
    def burden(self) -> float:
        """Points that are taken off its quality."""
        return -sum(one.points for one in self.firings if one.rule.effect == "burden")

    @property
    def score(self) -> float:
        """What methods are ranked by."""
        return round(self.quality - self.burden, 6)


@dataclass(slots=True)
class _Bench:
    """The methods judged so far, so that each anchor is judged once."""

    situation: Situation
    rules: Rules
    shares: Mapping[str, float]
    judged: dict[str, Judged] = field(default_factory=dict[str, Judged])

    def judge(self, method: str) -> Judged:
        if method not in self.judged:
            self.judged[method] = self._judge(method)
        return self.judged[method]

    def _judge(self, method: str) -> Judged:
        facts = facts_of(self.situation, method)
        setters = self._applying(method, facts, "settings")
        settings = {
            name: str(value) for one in setters for name, value in (one.rule.settings or {}).items()
        }
        if "lora_r" in settings:
            facts = facts_of(self.situation, method, int(settings["lora_r"]))
        quality_firings = self._applying(method, facts, "quality")
        found, quality, tied = self._quality(method, sum(one.points for one in quality_firings))
        left = 1 - found.weight
        scaled = [
            Firing(rule=one.rule, points=left * one.points, facts=facts) for one in quality_firings
        ]
        return Judged(
            method=method,
            settings=settings,
            facts=facts,
            estimate=found,
            quality=quality,
            tied=tied,
            firings=(*scaled, *self._applying(method, facts, "burden")),
            exclusions=self._applying(method, facts, "excludes"),
            setting_firings=setters,
        )

    def _quality(self, method: str, points: float) -> tuple[Estimate, float, bool]:
        if method == "full":
            return Estimate(value=100.0, sd=0.0), 100.0 + points, False
        anchor = self.judge(self.rules.relative_to[method])
        found = estimate(self.situation, method, anchor.quality + points, self.rules.weights)
        if method in self.shares:
            return found, self.shares[method], False
        if found.measured is None:
            return found, found.value, False
        beside = anchor.estimate.sd if anchor.estimate.measured is not None else 0.0
        noise = Z95 * math.hypot(found.sd, beside)
        tied = abs(found.value - anchor.quality) <= noise
        return found, anchor.quality if tied else found.value, tied

    def _applying(self, method: str, facts: Mapping[str, Fact], effect: str) -> tuple[Firing, ...]:
        return tuple(
            Firing(rule=rule, points=rule.points(facts), facts=facts)
            for rule in self.rules.rule
            if rule.effect == effect and rule.applies(method, facts)
        )


def judge(
    situation: Situation, rules: Rules, shares: Mapping[str, float] | None = None
) -> dict[str, Judged]:
    """Every candidate, judged, and the methods that they are counted from.

    Args:
        situation: what is known.
        rules: the rules.
        shares: method -> its share of full fine-tuning's gain, as if it were known.
    """
    bench = _Bench(situation=situation, rules=rules, shares=shares or {})
    for method in situation.candidates:
        bench.judge(method)
    return bench.judged


def ranking(situation: Situation, rules: Rules, judged: Mapping[str, Judged]) -> Sequence[Judged]:
    """The candidates that can be used, the best first; of equals, the less burdened."""
    order = [*rules.relative_to, "full"]
    usable = [judged[method] for method in situation.candidates if not judged[method].exclusions]
    return sorted(usable, key=lambda one: (-one.score, one.burden, order.index(one.method)))
