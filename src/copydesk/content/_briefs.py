"""Briefs: read from YAML or made from values, validated the same way, all errors at once."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from copydesk.content._files import read_text
from copydesk.content._yaml import MAX_BYTES, BadYamlError, parse_yaml
from copydesk.errors import InvalidInput
from copydesk.records import Brief

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


class _BriefModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: _Title
    keyword: _Keyword | None = None
    format: _Format = "blog"
    points: list[_Point] = Field(default=[], max_length=20)
    length: int | None = Field(default=None, ge=5, le=5000)


_KEYS = ", ".join(_BriefModel.model_fields)


def make_brief(
    *,
    title: str,
    keyword: str | None = None,
    format: str = "blog",  # noqa: A002 - the name that briefs, documents and files share
    points: Sequence[str] = (),
    length: int | None = None,
) -> Brief:
    """A brief from values, trimmed and validated as a brief's file is.

    Args:
        title: up to 200 characters.
        keyword: the search phrase, up to 80 characters.
        format: what kind of page, up to 40 characters.
        points: up to 20 points of up to 500 characters, in order.
        length: wanted words, 5 to 5,000.

    Raises:
        InvalidInput: names every field that is wrong.
    """
    values = {
        "title": title,
        "keyword": keyword,
        "format": format,
        "points": points if isinstance(points, str) else list(points),
        "length": length,
    }
    return _validated(values, where=None)


def read_brief(path: Path) -> Brief:
    """A brief from a YAML file with the keys title, keyword, format, points and length.

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
    return _validated({k: v for k, v in given.items() if v is not None}, where=str(path))


def _validated(values: Mapping[str, object], *, where: str | None) -> Brief:
    try:
        model = _BriefModel.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_in_words(detail) for detail in error.errors())
        raise InvalidInput(
            f"The brief cannot be used: {problems}", where=where, todo=f"Its keys are {_KEYS}."
        ) from error
    return Brief(
        title=model.title,
        keyword=model.keyword,
        format=model.format,
        points=tuple(model.points),
        length=model.length,
    )


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
        case "control":
            return f"{key} {detail['msg']}"
        case (
            "greater_than_equal" | "less_than_equal" | "int_type" | "int_parsing" | "int_from_float"
        ):
            return f"{key} must be a whole number of words from 5 to 5000"
        case _:
            return f"{key}: {detail['msg']}"
