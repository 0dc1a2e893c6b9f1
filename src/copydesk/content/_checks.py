"""The checks, and where others plug in.

A check is anything with a `name`, its `rules` and `findings(subject)`. Packages add theirs under
the entry points group `copydesk.checks`:

    [project.entry-points."copydesk.checks"]
    house = "my_package:house_check"
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Final, Protocol, runtime_checkable

from copydesk.content._claims import claims_findings
from copydesk.content._copying import originality_findings
from copydesk.content._evidence import evidence_findings
from copydesk.content._google import google_findings
from copydesk.content._lengths import length_findings
from copydesk.content._readability import readability_findings
from copydesk.content._repetition import repetition_findings
from copydesk.content._rules import Rule, default_rules
from copydesk.content._search import search_findings
from copydesk.content._style import style_findings
from copydesk.content._subject import Subject
from copydesk.errors import InvalidInput
from copydesk.records import Finding

ENTRY_POINTS: Final = "copydesk.checks"


@runtime_checkable
class Check(Protocol):
    """A family of rules that says what it has against a draft."""

    @property
    def name(self) -> str:
        """The family, e.g. `readability`."""
        ...

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Its rules by name, `family/rule`, with their usual values."""
        ...

    def findings(self, subject: Subject) -> Iterable[Finding]:
        """What it says of a draft. It asks `subject.rule` for each rule, as a client set it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """A family of this package: its rules are those of `rules.toml`."""

    name: str
    run: Callable[[Subject], Iterable[Finding]]

    @property
    def rules(self) -> Mapping[str, Rule]:
        return {n: rule for n, rule in default_rules().rules.items() if rule.family == self.name}

    def findings(self, subject: Subject) -> Iterable[Finding]:
        return self.run(subject)


_FAMILIES: Final[Mapping[str, Callable[[Subject], Iterable[Finding]]]] = {
    "length": length_findings,
    "style": style_findings,
    "search": search_findings,
    "google": google_findings,
    "evidence": evidence_findings,
    "claims": claims_findings,
    "originality": originality_findings,
    "readability": readability_findings,
    "repetition": repetition_findings,
}
BUILT_IN: Final[tuple[Check, ...]] = tuple(
    _Family(name=name, run=run) for name, run in _FAMILIES.items()
)


@cache
def installed_checks() -> tuple[Check, ...]:
    """The checks of this package and those that other installed packages add.

    Raises:
        InvalidInput: what a package names there is not a check, or takes a name that is taken.
    """
    found: list[Check] = list(BUILT_IN)
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            loaded: object = point.load()
        except (ImportError, AttributeError) as error:
            raise InvalidInput(
                f"The check {point.name!r} cannot be loaded: {error}",
                where=point.value,
                todo="Reinstall or remove the package that adds it.",
            ) from error
        if not isinstance(loaded, Check):
            raise InvalidInput(
                f"The entry point {point.name!r} is not a check",
                where=point.value,
                todo="It must have `name`, `rules` and `findings(subject)`.",
            )
        if loaded.name in {check.name for check in found}:
            raise InvalidInput(
                f"There is a check {loaded.name!r} already", where=point.value, todo="Rename it."
            )
        found.append(loaded)
    return tuple(found)
