"""Vale's style rules, read as they are: the kinds that need neither its binary nor a dictionary.

Read are `existence`, `substitution`, `occurrence`, `capitalization`, `repetition` and `consistency`
(https://vale.sh/docs/styles). Other kinds (`script`, `spelling`, `metric`, `conditional`,
`sequence`) are named as skipped, never half applied.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from copydesk.content._files import read_text
from copydesk.content._yaml import BadYamlError, parse_yaml
from copydesk.errors import InvalidInput
from copydesk.records import Severity

ValeKind = Literal[
    "existence", "substitution", "occurrence", "capitalization", "repetition", "consistency"
]
Scope = Literal["text", "heading", "sentence", "paragraph"]
_KINDS: Final = (
    "existence", "substitution", "occurrence", "capitalization", "repetition", "consistency",
)  # fmt: skip
_LEVELS: Final[Mapping[str, Severity]] = {
    "error": "error",
    "warning": "warning",
    "suggestion": "info",
}
_MOST_BYTES: Final = 256 * 1024
_MOST_FILES: Final = 500
_NEVER: Final = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValeRule:
    """One Vale rule, its patterns compiled."""

    name: str
    """`Style.Rule`, as Vale names it: folder and file."""
    kind: ValeKind
    message: str
    """With `%s` for the words found; of substitutions the first is the wanted term."""
    severity: Severity
    link: str | None
    scope: Scope
    pattern: re.Pattern[str]
    """What to look for; of `capitalization` the whole heading must match where it is a pattern."""
    swaps: tuple[tuple[re.Pattern[str], str], ...] = ()
    """substitution: what is found -> the term to use."""
    either: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = ()
    """consistency: one spelling or the other, not both."""
    least: int | None = None
    most: int | None = None
    match: str = ""
    """capitalization: `$title`, `$sentence`, `$lower`, `$upper` or a pattern."""
    exceptions: frozenset[str] = field(default_factory=frozenset[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class ValeStyles:
    """The rules of a folder, and what was skipped and why."""

    rules: tuple[ValeRule, ...]
    skipped: tuple[str, ...]


def read_vale_styles(folder: Path) -> ValeStyles:
    """All `.yml` and `.yaml` rules at and below a folder.

    Raises:
        InvalidInput: a file is not YAML, lacks what its kind needs, or has a pattern that Python's
            regular expressions do not take; it names the file. Or there are over 500.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".yml", ".yaml") and p.is_file())
    # Vale keeps vocabularies and settings beside styles, in folders of these names.
    paths = [p for p in paths if not {"config", "Vocab"} & set(p.relative_to(folder).parts)]
    if len(paths) > _MOST_FILES:
        raise InvalidInput(
            f"There are {len(paths):,} rules", where=str(folder), todo=f"At most {_MOST_FILES}."
        )
    rules: list[ValeRule] = []
    skipped: list[str] = []
    for path in paths:
        made = read_vale_rule(path)
        if isinstance(made, str):
            skipped.append(made)
        else:
            rules.append(made)
    return ValeStyles(rules=tuple(rules), skipped=tuple(skipped))


def read_vale_rule(path: Path) -> ValeRule | str:
    """A rule from its file; or, of a kind that is not read, a sentence that says so.

    Raises:
        InvalidInput: the file cannot be used.
    """
    name = f"{path.parent.name}.{path.stem}"
    try:
        raw = parse_yaml(
            read_text(path, kind="Vale rule", max_bytes=_MOST_BYTES), most_bytes=_MOST_BYTES
        )
        values = _mapping(raw, "the file")
        kind = str(values.get("extends") or "")
        if kind not in _KINDS:
            return f"{name} extends {kind or 'nothing'}, which is not read"
        return _rule(name, kind, values)
    except (BadYamlError, _BadRuleError) as problem:
        raise InvalidInput(
            f"The Vale rule cannot be used: {problem}",
            where=str(path),
            todo="Correct it, or take it out of the folder.",
        ) from problem


class _BadRuleError(ValueError):
    """What is wrong with a rule; the caller knows the file."""


def _rule(name: str, kind: ValeKind, values: Mapping[str, object]) -> ValeRule:
    ignore_case = values.get("ignorecase") == "true"
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    whole_words = values.get("nonword") != "true"
    match kind:
        case "existence":
            pattern = _alternatives(
                _texts(values, "tokens"), _texts(values, "raw"), whole_words, flags
            )
        case "occurrence":
            pattern = _compiled(_text(values, "token"), flags)
        case "repetition":
            tokens = _texts(values, "tokens") or [r"[^\s]+"]
            pattern = _compiled("|".join(f"(?:{token})" for token in tokens), flags)
        case _:
            pattern = _NEVER
    swap = _mapping(values.get("swap") or {}, "`swap`") if kind == "substitution" else {}
    either = _mapping(values.get("either") or {}, "`either`") if kind == "consistency" else {}
    if kind == "substitution" and not swap:
        raise _BadRuleError("`swap` is missing")
    match_text = _text(values, "match") if kind == "capitalization" else ""
    if match_text and not match_text.startswith("$"):
        pattern = _compiled(match_text, flags)
    if not str(values.get("message") or ""):
        raise _BadRuleError("`message` is missing")
    return ValeRule(
        name=name,
        kind=kind,
        message=str(values["message"]),
        severity=_LEVELS.get(str(values.get("level") or "warning"), "warning"),
        link=_optional(values, "link"),
        scope=_scope(values.get("scope"), kind),
        pattern=pattern,
        swaps=tuple((_bounded(k, whole_words, flags), str(v)) for k, v in swap.items()),
        either=tuple(
            (_bounded(k, whole_words, flags), _bounded(str(v), whole_words, flags))
            for k, v in either.items()
        ),
        least=_number(values, "min"),
        most=_number(values, "max"),
        match=match_text,
        exceptions=frozenset(text.lower() for text in _texts(values, "exceptions")),
    )


def _scope(given: object, kind: ValeKind) -> Scope:
    usual: Scope = "heading" if kind == "capitalization" else "text"
    text = given[0] if isinstance(given, list) and given else given
    head = str(text or usual).partition(".")[0]
    return cast(Scope, head) if head in ("heading", "sentence", "paragraph") else "text"


def _alternatives(
    tokens: Sequence[str], raw: Sequence[str], whole_words: bool, flags: re.RegexFlag
) -> re.Pattern[str]:
    """Vale joins `tokens` into one group with word boundaries, and `raw` end to end."""
    if not tokens and not raw:
        raise _BadRuleError("`tokens` or `raw` is missing")
    if raw:
        return _compiled("".join(raw), flags)
    return _bounded("|".join(f"(?:{token})" for token in tokens), whole_words, flags)


def _bounded(pattern: str, whole_words: bool, flags: re.RegexFlag) -> re.Pattern[str]:
    return _compiled(rf"\b(?:{pattern})\b" if whole_words else pattern, flags)


def _compiled(pattern: str, flags: re.RegexFlag) -> re.Pattern[str]:
    # Vale's own engine takes flags in the middle, Python's at the start alone.
    inner = pattern
    if "(?i)" in inner:
        inner, flags = inner.replace("(?i)", ""), flags | re.IGNORECASE
    try:
        return re.compile(inner, flags | re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise _BadRuleError(f"the pattern `{pattern[:80]}` is not understood: {error}") from error


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _BadRuleError(f"{what} is not a list of `key: value` lines")
    return cast(Mapping[str, object], value)


def _texts(values: Mapping[str, object], key: str) -> list[str]:
    given = values.get(key)
    if given is None:
        return []
    if not isinstance(given, list):
        return [str(given)]
    return [str(item) for item in cast(list[object], given) if item is not None]


def _text(values: Mapping[str, object], key: str) -> str:
    given = values.get(key)
    if not isinstance(given, str) or not given:
        raise _BadRuleError(f"`{key}` is missing")
    return given


def _optional(values: Mapping[str, object], key: str) -> str | None:
    given = values.get(key)
    return given if isinstance(given, str) else None


def _number(values: Mapping[str, object], key: str) -> int | None:
    given = _optional(values, key)
    if given is None:
        return None
    if not given.isdigit():
        raise _BadRuleError(f"`{key}` must be a whole number")
    return int(given)
