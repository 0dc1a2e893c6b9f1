"""Documents, examples and rejections as lines of JSON; what is read is what was written."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from copydesk.errors import Damaged
from copydesk.records import Document, Example, Rejection

_Record = TypeVar("_Record")
_DOCUMENTS: Final = TypeAdapter(Document)
_EXAMPLES: Final = TypeAdapter(Example)


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """One document a line, keys sorted: equal documents give equal bytes."""
    _write(path, documents)


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """One example a line, keys sorted."""
    _write(path, examples)


def write_rejections(path: Path, rejections: Iterable[Rejection]) -> None:
    """One rejection a line, keys sorted."""
    _write(path, rejections)


def read_documents(path: Path) -> tuple[Document, ...]:
    """What `write_documents` wrote.

    Raises:
        Damaged: the file is not there or a line is not a document.
    """
    return _read(path, _DOCUMENTS, "a document")


def read_examples(path: Path) -> tuple[Example, ...]:
    """What `write_examples` wrote.

    Raises:
        Damaged: the file is not there or a line is not an example.
    """
    return _read(path, _EXAMPLES, "an example")


def _write(path: Path, records: Iterable[Document | Example | Rejection]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(asdict(record), sort_keys=True, ensure_ascii=False) + "\n")


def _read(path: Path, adapter: TypeAdapter[_Record], what: str) -> tuple[_Record, ...]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(
            f"The file cannot be read: {error.strerror or error}",
            where=str(path),
            todo="Curate the client again.",
        ) from error
    records: list[_Record] = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        if not content:
            break
        try:
            records.append(adapter.validate_json(line, strict=True))
        except ValidationError as error:
            raise Damaged(
                f"Line {number} is not {what}: {error.errors(include_url=False)[0]['msg']}",
                where=str(path),
                todo="Curate the client again.",
            ) from error
    return tuple(records)
