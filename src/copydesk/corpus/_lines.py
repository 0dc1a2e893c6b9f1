"""Pages, chats and rejections as lines of JSON; what is read is what was written.

A line of a chat says so by `"record": "chat/1"`; a line without `record` is a page, as it was
before there were chats. A reader that meets a record it does not know is told to be upgraded.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from copydesk.corpus._kernels import load_kernels
from copydesk.errors import Damaged
from copydesk.records import Chat, Document, Material, Rejection

_NO_TEXT: Final = ', "text": ""'
"""Inside a string no such quotes stand without a backslash."""
_CHAT: Final = "chat/1"
_FIELDS: Final = tuple(field.name for field in fields(Document))
_ALWAYS: Final = frozenset({"date", "keyword"})
_DOCUMENTS: Final = TypeAdapter(Document)
_CHATS: Final = TypeAdapter(Chat)
_REJECTIONS: Final = TypeAdapter(Rejection)


def write_material(path: Path, material: Iterable[Material]) -> None:
    """One page or chat a line, keys sorted: equal ones give equal bytes."""
    _write(path, map(material_fields, material))


def material_line(item: Material) -> bytes:
    """The line that `write_material` writes."""
    kernels = load_kernels()
    if kernels is None or isinstance(item, Chat):
        return _line(material_fields(item)).encode()
    # The text is nearly all of it: the rest is written around its place.
    before, place, after = _line(material_fields(replace(item, text=""))).partition(_NO_TEXT)
    assert place
    text = kernels.escape(item.text)
    return b"".join((before.encode(), _NO_TEXT[:-1].encode(), text, b'"', after.encode()))


def material_fields(item: Material) -> Mapping[str, object]:
    """A page or chat as JSON values.

    What is not known of a page's provenance is left out: so pages from before it was recorded give
    the bytes that they gave then.
    """
    if isinstance(item, Chat):
        return asdict(item) | {"record": _CHAT}
    values = ((name, getattr(item, name)) for name in _FIELDS)
    return {name: value for name, value in values if value is not None or name in _ALWAYS}


def rejection_line(rejection: Rejection) -> bytes:
    """The line that `write_rejections` writes."""
    return _line(_rejection_fields(rejection)).encode()


def write_rejections(path: Path, rejections: Iterable[Rejection]) -> None:
    """One rejection a line, keys sorted."""
    _write(path, map(_rejection_fields, rejections))


def add_rejections(path: Path, rejections: Iterable[Rejection]) -> None:
    """More lines at the end of what `write_rejections` wrote."""
    with path.open("ab") as file:
        file.writelines(map(rejection_line, rejections))


def _rejection_fields(rejection: Rejection) -> Mapping[str, object]:
    """As JSON values, without what is not known beyond the reason."""
    return {
        name: value
        for name, value in asdict(rejection).items()
        if value is not None or name == "line"
    }


def read_material(path: Path) -> tuple[Material, ...]:
    """What `write_material` wrote.

    Raises:
        Damaged: the file is not there, or a line is neither a page nor a chat.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(
            f"The file cannot be read: {error.strerror or error}",
            where=str(path),
            todo="Curate the client again.",
        ) from error
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    return tuple(_material(line, number, path) for number, line in enumerate(lines, start=1))


def each_material(path: Path) -> Iterator[Material]:
    """The same, one after another: for files that are larger than memory."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield _material(line.removesuffix(b"\n"), number, path)


def each_rejection(path: Path) -> Iterator[Rejection]:
    """What `write_rejections` wrote, one after another."""
    with path.open("rb") as file:
        for line in file:
            yield _REJECTIONS.validate_json(line, strict=True)


def _material(line: bytes, number: int, path: Path) -> Material:
    try:
        record = _record(line)
        if record is None:
            return _DOCUMENTS.validate_json(line, strict=True)
        if record == _CHAT:
            return _CHATS.validate_json(line, strict=True)
    except ValidationError as error:
        raise Damaged(
            f"Line {number} is not a page or chat: {error.errors(include_url=False)[0]['msg']}",
            where=str(path),
            todo="Curate the client again.",
        ) from error
    raise Damaged(
        f"Line {number} is a {str(record)[:40]!r}, which this Copydesk does not know",
        where=str(path),
        todo="Upgrade Copydesk, or curate the client again.",
    )


def _record(line: bytes) -> object:
    """What the line says that it is; None where it says nothing or is not JSON."""
    if b'"record"' not in line:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value.get("record") if isinstance(value, dict) else None


def _write(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(_line(record))


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n"
