"""The rules of the checks, as data: on or off, severity, thresholds, source and date.

`rules.toml` beside this module holds them; a client's style guide and `rules.toml` change values.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, get_args

from copydesk.errors import InvalidInput
from copydesk.records import RuleValue, Severity

_SEVERITIES = get_args(Severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a check."""

    name: str
    """`family/rule`."""
    severity: Severity
    source: str
    date: str | None = None
    on: bool = True
    formats: tuple[str, ...] = ()
    """The formats that it is about; empty is all."""
    values: Mapping[str, RuleValue] = field(default_factory=dict[str, RuleValue])

    @property
    def family(self) -> str:
        """The part before the slash."""
        return self.name.partition("/")[0]

    def number(self, key: str) -> float:
        """A threshold."""
        value = self.values[key]
        assert isinstance(value, int | float)
        return value

    def text(self, key: str) -> str:
        """A word such as `always`."""
        value = self.values[key]
        assert isinstance(value, str)
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of words."""
        value = self.values[key]
        assert isinstance(value, tuple)
        return value

    def is_about(self, page_format: str | None) -> bool:
        """Whether it speaks of drafts of this format; of an unknown one it does."""
        return self.on and (not self.formats or page_format is None or page_format in self.formats)

    def changed(self, values: Mapping[str, RuleValue], *, where: str | None = None) -> "Rule":
        """The rule with some of its values set; a client's rule has the client's guide as source.

        Raises:
            InvalidInput: a value that the rule does not have, or of another kind.
        """
        problems = [
            problem for key, value in values.items() if (problem := self._problem(key, value))
        ]
        if problems:
            known = ", ".join(["on", "severity", "formats", *self.values])
            raise InvalidInput(
                f"The rule {self.name} cannot be set so: {'; '.join(problems)}",
                where=where,
                todo=f"It has: {known}.",
            )
        own = {key: value for key, value in values.items() if key in self.values}
        severity: Any = values.get("severity", self.severity)
        formats = values.get("formats", self.formats)
        return replace(
            self,
            on=bool(values.get("on", self.on if values.get("severity") is None else True)),
            severity=severity,
            formats=formats if isinstance(formats, tuple) else self.formats,
            values={**self.values, **own},
        )

    def _problem(self, key: str, value: RuleValue) -> str | None:
        match key:
            case "on":
                return None if isinstance(value, bool) else "`on` must be true or false"
            case "severity":
                allowed = ", ".join(_SEVERITIES)
                return None if value in _SEVERITIES else f"`severity` must be one of {allowed}"
            case "formats":
                return None if isinstance(value, tuple) else "`formats` must be a list of words"
            case _:
                return self._own_problem(key, value)

    def _own_problem(self, key: str, value: RuleValue) -> str | None:
        if key not in self.values:
            return f"`{key}` is not one of its values"
        usual = self.values[key]
        if isinstance(usual, tuple):
            return None if isinstance(value, tuple) else f"`{key}` must be a list of words"
        if isinstance(usual, str):
            return None if isinstance(value, str) else f"`{key}` must be a word"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number else f"`{key}` must be a number"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """All rules by name."""

    rules: Mapping[str, Rule]

    def changed(
        self, values: Mapping[str, Mapping[str, RuleValue]], *, where: str | None = None
    ) -> "RuleBook":
        """The book with values of some rules set.

        Args:
            values: rule -> its values.
            where: the file that they are from, for messages.

        Raises:
            InvalidInput: an unknown rule, or a value that the rule does not have.
        """
        unknown = sorted(set(values) - set(self.rules))
        if unknown:
            families = sorted({name.partition("/")[0] for name in unknown})
            known = [name for name in self.rules if name.partition("/")[0] in families]
            raise InvalidInput(
                f"There is no rule {', '.join(unknown)}",
                where=where,
                todo=f"Rules are: {', '.join(known or self.rules)}.",
            )
        changed = {name: self.rules[name].changed(v, where=where) for name, v in values.items()}
        return RuleBook(rules={**self.rules, **changed})

    def with_rules(self, more: Mapping[str, Rule]) -> "RuleBook":
        """The book with rules that are not in it yet."""
        return RuleBook(rules={**more, **self.rules})


@cache
def default_rules() -> RuleBook:
    """The rules as `rules.toml` of this package has them."""
    text = (resources.files("copydesk.content") / "rules.toml").read_text(encoding="utf-8")
    raw: dict[str, dict[str, Any]] = tomllib.loads(text)
    sources = raw.pop("sources")
    return RuleBook(rules={name: _rule(name, values, sources) for name, values in raw.items()})


def _rule(name: str, raw: Mapping[str, Any], sources: Mapping[str, Mapping[str, str]]) -> Rule:
    source = sources[raw["source"]]
    own = {k: v for k, v in raw.items() if k not in ("on", "severity", "source", "formats")}
    return Rule(
        name=name,
        severity=raw["severity"],
        source=source["name"],
        date=source["date"] or None,
        on=raw.get("on", True),
        formats=tuple(raw.get("formats", ())),
        values={k: tuple(v) if isinstance(v, list) else v for k, v in own.items()},
    )
