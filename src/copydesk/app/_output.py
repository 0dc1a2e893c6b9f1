"""Where a command's words go: a person's terminal, or one JSON document."""

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from copydesk.errors import CopydeskError, InvalidInput

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def emit_json(document: Mapping[str, Any]) -> None:
    """Print the command's one JSON document on standard output."""
    json.dump(_plain(document), sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def show_error(error: CopydeskError, *, as_json: bool) -> None:
    """Say what went wrong: a line on standard error, and the JSON document where one is due."""
    if as_json:
        emit_json({"error": {"what": error.what, "where": error.where, "todo": error.todo}})
    err.print("[bold red]error:[/] ", end="")
    err.print(str(error), markup=False, soft_wrap=True)


def size(count: int | None) -> str:
    """Bytes for people, in powers of ten."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def method_word(name: str) -> str:
    """A tuning method as it is written in a sentence."""
    return {"lora": "LoRA", "dora": "DoRA", "qlora": "QLoRA"}.get(name, name)


def parse_size(text: str) -> int:
    """Bytes from `8GB`, `500 MB` or `8000000000`; units are powers of ten, KiB to TiB of two.

    Raises:
        InvalidInput: it is none of these.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    if not found:
        raise InvalidInput(f"{text!r} is not a size", todo="Write it as 8GB or 500MB.")
    number, unit, binary = found.groups()
    return round(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def parse_duration(text: str) -> float:
    """Seconds from `20m`, `90s`, `1h30m`, or a bare number of seconds.

    Raises:
        InvalidInput: it is none of these, or no time at all.
    """
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        seconds = float(compact)
    else:
        found = re.fullmatch(
            r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", compact
        )
        parts = found.groups() if found else ()
        seconds = sum(
            float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False) if part
        )
    if not seconds:
        raise InvalidInput(f"{text!r} is not a length of time", todo="Write it as 20m or 1h30m.")
    return seconds


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _plain(value: Any) -> Any:
    if isinstance(value, CopydeskError):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
