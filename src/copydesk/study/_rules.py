"""Rules that a method is chosen by: data with sources, in `rules.toml` here and in the workspace.

A rule has methods that it speaks of, conditions on facts, all of which must hold, one effect, and
whose finding it is. Effects are

- `quality`: points of full fine-tuning's gain over the base (base 0, full 100) that the method has
  more, or with a minus less, than the method it is counted from (`relative_to`). Comparisons of the
  workspace outweigh these.
- `burden`: points of that gain that one would give up to be spared something.
- `excludes`: the method cannot be used.
- `settings`: what to set.

With `per_doubling` the points count once for each doubling of the first condition's fact beyond its
threshold, `at_most_points` at most.
"""

import math
import string
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from copydesk.errors import InvalidInput
from copydesk.models import METHODS, find_method
from copydesk.study._situation import FACTS, Fact

_LARGEST = 1 << 20
_STRICT = ConfigDict(extra="forbid", frozen=True)
_LIMITS = ("above", "at_least", "below", "at_most")
Effect = Literal["quality", "burden", "excludes", "settings"]


class Condition(BaseModel):
    """One condition on a fact: exactly one test of it."""

    model_config = _STRICT

    fact: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    equals: bool | str | None = None
    known: bool | None = None

    @model_validator(mode="after")
    def _one_test_of_a_fact(self) -> Self:
        if self.fact not in FACTS:
            raise ValueError(f"there is no fact {self.fact!r}; facts are: {', '.join(FACTS)}")
        tests = [name for name in (*_LIMITS, "equals", "known") if getattr(self, name) is not None]
        if len(tests) != 1:
            raise ValueError(
                f"a condition on {self.fact} needs one of {', '.join(_LIMITS)}, equals, known"
            )
        return self

    @property
    def threshold(self) -> float | None:
        """The number that it compares with."""
        return next((value for name in _LIMITS if (value := getattr(self, name)) is not None), None)

    def holds(self, facts: Mapping[str, Fact]) -> bool:
        """Whether it holds; a fact that is not known fails every test but `known = false`."""
        value = facts[self.fact]
        if self.known is not None:
            return (value is not None) == self.known
        if value is None:
            return False
        if self.equals is not None:
            return value == self.equals
        number, limit = float(value), self.threshold
        assert limit is not None
        if self.above is not None:
            return number > limit
        if self.at_least is not None:
            return number >= limit
        return number < limit if self.below is not None else number <= limit


class Rule(BaseModel):
    """One rule; the module says what its keys mean."""

    model_config = _STRICT

    name: str = Field(min_length=1)
    methods: tuple[str, ...] = Field(min_length=1)
    when: tuple[Condition, ...] = ()
    quality: float | None = Field(default=None, ge=-100, le=100)
    burden: float | None = Field(default=None, ge=0, le=100)
    excludes: Literal[True] | None = None
    settings: Mapping[str, str | int | float] | None = None
    per_doubling: bool = False
    at_most_points: float = Field(default=30, gt=0)
    because: str = Field(min_length=1)
    """The sentence of the reason; `{fact}` stands for the fact's value."""
    source: str = Field(min_length=1)

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in METHODS]:
            raise ValueError(f"there is no method {unknown[0]!r}; they are: {', '.join(METHODS)}")
        return value

    @field_validator("because")
    @classmethod
    def _known_facts(cls, value: str) -> str:
        for _, name, spec, conversion in string.Formatter().parse(value):
            if name is not None and (name not in FACTS or spec or conversion):
                raise ValueError(f"{{{name}}} is not a fact; facts are: {', '.join(FACTS)}")
        return value

    @model_validator(mode="after")
    def _one_effect(self) -> Self:
        effects = (self.quality, self.burden, self.excludes, self.settings)
        if sum(effect is not None for effect in effects) != 1:
            raise ValueError("a rule has one of: quality, burden, excludes, settings")
        if self.per_doubling:
            first = self.when[0] if self.when else None
            limit = None
            if first is not None:
                limit = first.above if first.above is not None else first.at_least
            if limit is None or limit <= 0:
                raise ValueError("per_doubling needs a first condition that is above some number")
        return self

    @property
    def effect(self) -> Effect:
        """Which effect it has."""
        names: tuple[Effect, ...] = ("quality", "burden", "excludes", "settings")
        return next(name for name in names if getattr(self, name) is not None)

    def applies(self, method: str, facts: Mapping[str, Fact]) -> bool:
        """Whether it speaks of the method and all its conditions hold."""
        return method in self.methods and all(condition.holds(facts) for condition in self.when)

    def points(self, facts: Mapping[str, Fact]) -> float:
        """For the method, or with a minus against it; 0 of rules with other effects."""
        each = self.quality if self.quality is not None else -(self.burden or 0.0)
        if not self.per_doubling:
            return each
        value, threshold = facts[self.when[0].fact], self.when[0].threshold
        assert value is not None and threshold
        points = each * math.log2(float(value) / threshold)
        return max(-self.at_most_points, min(self.at_most_points, points))

    def reason(self, facts: Mapping[str, Fact]) -> str:
        """`because`, with the numbers of these facts."""
        parts: list[str] = []
        for text, name, _, _ in string.Formatter().parse(self.because):
            parts += [text, said(name, facts[name])] if name is not None else [text]
        return "".join(parts)


class Weights(BaseModel):
    """How much comparisons of the workspace count beside publications, as standard deviations.

    All are points of full fine-tuning's gain; what is less spread weighs more, as the inverse of
    the variance.
    """

    model_config = _STRICT

    published_sd: float = Field(gt=0)
    """How far a method's share lies from what publications lead to expect."""
    between_clients_sd: float = Field(ge=0)
    """How far one client's share lies from another's."""
    doubling_sd: float = Field(ge=0)
    """The same for each doubling between the numbers of pages."""
    other_base_sd: float = Field(ge=0)
    """The same over another base."""


class Rules(BaseModel):
    """All rules."""

    model_config = _STRICT

    weights: Weights
    relative_to: Mapping[str, str]
    """Method -> the one that its quality is counted from. Its order breaks exact ties."""
    rule: tuple[Rule, ...]

    @model_validator(mode="after")
    def _every_method_ends_at_full(self) -> Self:
        for method in METHODS:
            seen = [method]
            while seen[-1] != "full":
                anchor = self.relative_to.get(seen[-1])
                if anchor is None or anchor in seen:
                    raise ValueError(f"relative_to does not lead from {method} to full")
                seen.append(anchor)
        return self


class _Additions(BaseModel):
    """What a workspace's `rules.toml` may hold."""

    model_config = _STRICT

    off: tuple[str, ...] = ()
    """Names of rules that do not count."""
    weights: Mapping[str, float] = Field(default_factory=dict[str, float])
    relative_to: Mapping[str, str] = Field(default_factory=dict[str, str])
    rule: tuple[Rule, ...] = ()
    """New ones; one with the name of another takes its place."""


def read_rules(additions: Path | None = None) -> Rules:
    """The rules that ship with Copydesk, under those of a file where there is one.

    Raises:
        InvalidInput: the file is not TOML or cannot be used: all that is wrong is named.
    """
    shipped = resources.files("copydesk.study").joinpath("rules.toml").read_text(encoding="utf-8")
    rules = Rules.model_validate(tomllib.loads(shipped))
    if additions is None or not additions.is_file():
        return rules
    where = str(additions)
    try:
        raw = additions.read_bytes()
        if len(raw) > _LARGEST:
            raise InvalidInput("The file of rules is over 1 MiB", where=where)
        added = _Additions.model_validate(tomllib.loads(raw.decode()))
        return _merged(rules, added)
    except OSError as error:
        raise InvalidInput(
            f"The rules cannot be read: {error.strerror}", where=where, todo="Check the file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The file of rules is not TOML: {error}", where=where) from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, issue['loc'])) or 'file'}: "
            + ("unknown key" if issue["type"] == "extra_forbidden" else issue["msg"])
            for issue in error.errors()
        ]
        raise InvalidInput(
            f"The rules cannot be used: {'; '.join(problems)}",
            where=where,
            todo="Known keys: off, weights, relative_to and tables [[rule]] with "
            f"{', '.join(Rule.model_fields)}.",
        ) from error


def _merged(rules: Rules, added: _Additions) -> Rules:
    kept = {rule.name: rule for rule in rules.rule} | {rule.name: rule for rule in added.rule}
    if missing := [name for name in added.off if name not in kept]:
        raise InvalidInput(
            f"There is no rule {missing[0]!r} to turn off", todo=f"Rules are: {', '.join(kept)}."
        )
    return Rules.model_validate(
        {
            "weights": rules.weights.model_dump() | dict(added.weights),
            "relative_to": dict(rules.relative_to) | dict(added.relative_to),
            "rule": [rule.model_dump() for name, rule in kept.items() if name not in added.off],
        }
    )


def label(method: str) -> str:
    """A method's label, as the first word of a sentence."""
    text = find_method(method).label
    return text[0].upper() + text[1:]


def said(fact: str, value: Fact) -> str:
    """A fact for people, in the unit that its name ends in."""
    if fact == "method":
        return label(str(value))
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if fact.endswith("_bytes"):
        return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"
    if fact.endswith("_seconds"):
        return f"{value / 3600:.1f} h" if value >= 7200 else f"{value / 60:.1f} min"
    if fact.endswith("_share"):
        percent = 100 * value
        return f"{percent:.0f}%" if percent >= 1 else f"{percent:.2g}%"
    if fact.endswith("_usd"):
        return f"${value:.2f}"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.2g}"
