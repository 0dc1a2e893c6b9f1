"""Options that several commands share, and how their values are read."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from copydesk.errors import CopydeskError, InvalidInput, NotPassed

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
InWorkspace = Annotated[
    Path | None,
    typer.Option("--workspace", help="The workspace; by default the nearest one upward."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting as key=value, e.g. lora_r=8. Repeatable."),
]


def exit_code(error: CopydeskError) -> int:
    """1 where a gate said no, 2 for the caller's mistake, 3 for what the machine could not do."""
    if isinstance(error, NotPassed):
        return 1
    return 2 if error.fault == "caller" else 3


def pairs(items: list[str], option: str) -> dict[str, Any]:
    """`key=value` options; a value with commas is a list."""
    found: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{option} {item!r} is not key=value")
        found[key] = tuple(value.split(",")) if "," in value else value
    return found


def fields_of(record: Any) -> dict[str, Any]:
    """A record's fields by name, as they are."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
