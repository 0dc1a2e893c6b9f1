"""Briefs: read from YAML or made from values, validated the same way, all errors at once."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from copydesk.content._files import read_text
from copydesk.content._yaml import MAX_BYTES, BadYamlError, parse_yaml
from copydesk.errors import InvalidInput
from copydesk.records import Brief, Fact, Intent, Link

_UNWANTED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def _one_line(text: str) -> str:
    """Refuse what could break a prompt's lines or a page: controls and line separators."""
    if any(unicodedata.category(char) in _UNWANTED for char in text):
        raise PydanticCustomError("control", "must be one line without control characters")
    return text


_Trimmed = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_one_line)
]
_Title = Annotated[_Trimmed, Field(max_length=200)]
_Keyword = Annotated[_Trimmed, Field(max_length=80)]
_Format = Annotated[_Trimmed, Field(max_length=40)]
_Point = Annotated[_Trimmed, Field(max_length=500)]


def _address(text: str) -> str:
    """Refuse addresses that a browser would run rather than open."""
    if not text.startswith(("https://", "http://", "/", "mailto:")) or any(
        c in text for c in '<>" '
    ):
        raise PydanticCustomError("address", "must be an address: https://..., /path or mailto:...")
    return text


class _FactModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: _Point
    source: _Title | None = None


class _LinkModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[_Trimmed, Field(max_length=2000), AfterValidator(_address)]
    text: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""


def _as_fact(value: object) -> object:
    """`text | source` and `text` are facts too."""
    if not isinstance(value, str):
        return value
    text, _, source = value.partition(" | ")
    return {"text": text, **({"source": source} if source.strip() else {})}


def _as_link(value: object) -> object:
    """`address | words` and an address alone are links too."""
    if not isinstance(value, str):
        return value
    url, _, text = value.partition(" | ")
    return {"url": url, "text": text}


def _as_range(value: object) -> object:
    """`120-180` is a range too."""
    if isinstance(value, str) and (match := _RANGE.fullmatch(value.strip())):
        return [match.group(1), match.group(2)]
    return value


_RANGE = re.compile(r"(\d{1,5})\s*(?:-|\u2013|to)\s*(\d{1,5})")
_Words = Annotated[int, Field(ge=5, le=5000)]
_Facts = list[Annotated[_FactModel, BeforeValidator(_as_fact)]]
_Links = list[Annotated[_LinkModel, BeforeValidator(_as_link)]]


class _BriefModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: _Title | None = None
    keyword: _Keyword | None = None
    format: _Format = "blog"
    points: list[_Point] = Field(default=[], max_length=20)
    length: _Words | None = None
    length_range: Annotated[tuple[_Words, _Words] | None, BeforeValidator(_as_range)] = None
    keywords: list[_Keyword] = Field(default=[], max_length=20)
    intent: Intent | None = None
    audience: _Title | None = None
    outline: list[_Title] = Field(default=[], max_length=20)
    facts: _Facts = Field(default=[], max_length=100)
    experience: list[_Point] = Field(default=[], max_length=20)
    links: _Links = Field(default=[], max_length=50)
    call_to_action: _Point | None = None
    banned_claims: list[_Point] = Field(default=[], max_length=50)
    author: _Title | None = None
    price: Annotated[str, StringConstraints(pattern=r"^\d{1,9}(\.\d{1,2})?$")] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None


KEYS: Final = tuple(_BriefModel.model_fields)
LIST_KEYS: Final = (
    "points", "keywords", "outline", "facts", "experience", "links", "banned_claims"
)  # fmt: skip
"""Keys whose values are lists."""
_KEYS = ", ".join(KEYS)


def make_brief(**values: Any) -> Brief:
    """A brief from values, trimmed and validated as a brief's file is.

    Args:
        **values: `title` (up to 200 characters; may be left out where there is a keyword),
            `keyword` (the primary search phrase, 80), `keywords` (secondary ones, 20 of them),
            `format`, `intent`, `audience`, `points` (20 of 500 characters), `outline` (headings),
            `facts` (100, each text or a mapping of `text` and `source`), `experience`, `links`
            (each an address or a mapping of `url` and `text`), `call_to_action`, `banned_claims`,
            `length` (words, 5 to 5,000), `length_range`, `author`, `price` and `currency`.

    Raises:
        InvalidInput: names every field that is wrong.
    """
    given = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
    return validated_brief({k: v for k, v in given.items() if v is not None}, where=None)


def read_brief(path: Path) -> Brief:
    """A brief from a YAML file; its keys are those of `make_brief`.

    Raises:
        InvalidInput: names the file and everything that is wrong in it.
    """
    text = read_text(path, kind="brief", max_bytes=MAX_BYTES)
    try:
        values = parse_yaml(text)
    except BadYamlError as problem:
        raise InvalidInput(f"The brief is not usable YAML: {problem}", where=str(path)) from problem
    if not isinstance(values, dict):
        raise InvalidInput(
            "The brief is not a list of `key: value` lines",
            where=str(path),
            todo=f"Its keys are {_KEYS}.",
        )
    given: dict[str, object] = {str(key): value for key, value in values.items()}
    # A key without a value (`keyword:`) says no more than a key left out.
    return validated_brief({k: v for k, v in given.items() if v is not None}, where=str(path))


def validated_brief(values: Mapping[str, object], *, where: str | None) -> Brief:
    """A brief from values as they were read.

    Raises:
        InvalidInput: names the place and every field that is wrong.
    """
    problems: list[str] = []
    model = None
    try:
        model = _BriefModel.model_validate(values)
    except ValidationError as error:
        problems = [_in_words(detail) for detail in error.errors()]
    if "title" not in values and ("keyword" not in values or problems):
        problems.append("`title` is missing")
    if model is not None:
        problems.extend(_contradictions(model))
    if model is None or problems:
        raise InvalidInput(
            f"The brief cannot be used: {'; '.join(problems)}",
            where=where,
            todo=f"Its keys are {_KEYS}.",
        )
    return Brief(
        title=model.title or "",
        keyword=model.keyword,
        format=model.format,
        points=tuple(model.points),
        length=model.length,
        length_range=model.length_range,
        keywords=tuple(model.keywords),
        intent=model.intent,
        audience=model.audience,
        outline=tuple(model.outline),
        facts=tuple(Fact(text=fact.text, source=fact.source) for fact in model.facts),
        experience=tuple(model.experience),
        links=tuple(Link(url=link.url, text=link.text) for link in model.links),
        call_to_action=model.call_to_action,
        banned_claims=tuple(model.banned_claims),
        author=model.author,
        price=model.price,
        currency=model.currency,
    )


def _contradictions(model: _BriefModel) -> Iterator[str]:
    if model.length_range is not None:
        fewest, most = model.length_range
        if fewest > most:
            yield f"`length_range` starts at {fewest} and ends at {most}"
        elif model.length is not None and not fewest <= model.length <= most:
            yield f"`length` {model.length} is not in `length_range` {fewest} to {most}"
    if (model.price is None) != (model.currency is None):
        yield "`price` and `currency` belong together"


def _in_words(detail: ErrorDetails) -> str:
    """One validation error as a writer would put it, naming the key."""
    head, *rest = [str(part + 1) if isinstance(part, int) else part for part in detail["loc"]]
    key = f"`{head}`" + (f" no. {rest[0]}" if rest else "")
    context = detail.get("ctx", {})
    value: object = detail["input"]
    size = f"{len(value):,}" if isinstance(value, str | list) else "?"
    match detail["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden":
            return f"{key} is not a key of a brief"
        case "string_too_short":
            return f"{key} is empty"
        case "too_long":
            things = "characters" if isinstance(value, str) else "entries"
            return f"{key} has {size} {things}, the most is {context['max_length']}"
        case "string_type":
            return f"{key} must be text"
        case "list_type":
            return f"{key} must be a list, one entry a line after a dash"
        case "control" | "address":
            return f"{key} {detail['msg']}"
        case "string_pattern_mismatch" if head == "price":
            return f"{key} must be a number such as 24 or 24.50"
        case "string_pattern_mismatch":
            return f"{key} must be a currency's three letters, such as EUR"
        case "model_type" | "tuple_type":
            return f"{key} is not in the form that its key has"
        case (
            "greater_than_equal" | "less_than_equal" | "int_type" | "int_parsing" | "int_from_float"
        ):
            return f"{key} must be a whole number of words from 5 to 5000"
        case _:
            return f"{key}: {detail['msg']}"
