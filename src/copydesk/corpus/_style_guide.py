"""A client's style guide: TOML with rules that can be checked, or prose."""

import tomllib
from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
)

from copydesk.corpus._pages import shown
from copydesk.corpus._words import clean_text
from copydesk.errors import InvalidInput
from copydesk.records import StyleGuide

_MOST_BYTES: Final = 1024 * 1024
_TODO: Final = "Correct the file and run the same command again."


def _in_order(bounds: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= bounds[0] <= bounds[1]:
        raise ValueError("must be [fewest, most] words with 1 <= fewest <= most")
    return bounds


_Term = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_Bounds = Annotated[tuple[StrictInt, StrictInt], AfterValidator(_in_order)]


class _GuideFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    voice: str = ""
    banned: list[_Term] = Field(default_factory=list)
    prefer: dict[_Term, _Term] = Field(default_factory=dict)
    length: dict[_Term, _Bounds] = Field(default_factory=dict)
    rules: dict[_Term, dict[_Term, bool | int | float | str | list[str]]] = Field(
        default_factory=dict
    )


def read_style_guide(path: Path) -> StyleGuide:
    """Read `.toml` (`voice`, `banned`, `[prefer]`, `[length]`, `[rules]`), or prose as the voice.

    Raises:
        InvalidInput: the file cannot be read as either; of a TOML file all wrong keys are named.
    """
    kind = path.suffix.lower()
    if kind not in (".toml", ".md", ".markdown", ".txt"):
        raise InvalidInput(
            f"A style guide cannot be of the kind {path.suffix or path.name!r}",
            where=shown(path),
            todo="Use .toml for rules or .md or .txt for prose.",
        )
    text = _text(path)
    if kind != ".toml":
        return StyleGuide(voice=clean_text(text))
    guide = _guide_file(text, shown(path))
    return StyleGuide(
        voice=clean_text(guide.voice),
        banned=tuple(dict.fromkeys(guide.banned)),
        prefer=dict(guide.prefer),
        length=dict(guide.length),
        rules={
            rule: {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            for rule, values in guide.rules.items()
        },
    )


def _guide_file(text: str, where: str) -> _GuideFile:
    try:
        return _GuideFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        problems = [
            f"`{'.'.join(str(part) for part in problem['loc'])}`: {_said(problem['msg'])}"
            for problem in error.errors(include_url=False)
        ]
        raise InvalidInput(
            f"The style guide has {len(problems)} "
            f"{'error' if len(problems) == 1 else 'errors'}: {'; '.join(problems)}",
            where=where,
            todo=_TODO,
        ) from error
    except ValueError as error:
        raise InvalidInput(f"It is not TOML: {error}", where=where, todo=_TODO) from error
    except RecursionError as error:
        raise InvalidInput(
            "It is TOML that is nested too deeply", where=where, todo=_TODO
        ) from error


def _said(message: str) -> str:
    if message.startswith("Extra inputs"):
        return "is not a key of a style guide (those are voice, banned, prefer, length and rules)"
    return message.removeprefix("Value error, ")


def _text(path: Path) -> str:
    """The text of a small file."""
    where = shown(path)
    try:
        if not path.is_file():
            raise InvalidInput("There is no such file", where=where, todo="Check the path.")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except InvalidInput:
        raise
    except OSError as error:
        raise InvalidInput(
            f"The file cannot be read: {error.strerror or error}",
            where=where,
            todo="Check its permissions.",
        ) from error
    if len(content) > _MOST_BYTES:
        raise InvalidInput(
            f"A style guide may have {_MOST_BYTES:,} bytes and this file has more",
            where=where,
            todo="Keep what a writer needs to know.",
        )
    if b"\0" in content:
        raise InvalidInput("The file is binary", where=where, todo="Save it as text in UTF-8.")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"The file is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start:,}",
            where=where,
            todo="Save it as text in UTF-8.",
        ) from error
    if not text.strip():
        raise InvalidInput("The style guide is empty", where=where, todo=_TODO)
    return text
