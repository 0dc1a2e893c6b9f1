"""A client's own settings of the checks: which rules, how strict, and what may stand.

[rules."search/keyword-density"]
most = 2.5

[waive]
"search/links" = "The shop's pages link by their own template."
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from copydesk.content._files import read_text
from copydesk.errors import InvalidInput
from copydesk.records import RuleValue

_MOST_BYTES: Final = 256 * 1024
_Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
_Value = bool | int | float | str | list[str]


class _RulesFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rules: dict[str, dict[str, _Value]] = Field(default_factory=dict)
    waive: dict[str, _Reason] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRules:
    """What a client sets of the checks."""

    rules: Mapping[str, Mapping[str, RuleValue]] = field(
        default_factory=dict[str, Mapping[str, RuleValue]]
    )
    waivers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Rule, or family, -> why its findings may stand."""


def read_client_rules(path: Path) -> ClientRules:
    """Rules and waivers from a TOML file.

    Raises:
        InvalidInput: it is not TOML, or has other keys; all of them are named.
    """
    text = read_text(path, kind="rules file", max_bytes=_MOST_BYTES)
    try:
        file = _RulesFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        problems = "; ".join(
            f"`{'.'.join(map(str, issue['loc'][:3]))}`: {issue['msg']}" for issue in error.errors()
        )
        raise InvalidInput(
            f"The rules file cannot be used: {problems}",
            where=str(path),
            todo='It has [rules."family/rule"] tables and a [waive] table of reasons.',
        ) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"The rules file is not TOML: {error}", where=str(path)) from error
    return ClientRules(
        rules={
            name: {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            for name, values in file.rules.items()
        },
        waivers=file.waive,
    )


def parse_waivers(items: Sequence[str]) -> dict[str, str]:
    """`RULE=REASON` pairs, as the command line takes them.

    Raises:
        InvalidInput: a pair without a rule or without a reason.
    """
    found: dict[str, str] = {}
    for item in items:
        rule, equals, reason = item.partition("=")
        if not equals or not rule.strip() or not reason.strip():
            raise InvalidInput(
                f"The waiver {item!r} is not RULE=REASON",
                todo='For example: --waive "search/links=The template links."',
            )
        found[rule.strip()] = reason.strip()
    return found
