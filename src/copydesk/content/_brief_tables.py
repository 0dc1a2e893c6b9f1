"""Briefs in bulk: a row a brief, from CSV or XLSX, or one brief from YAML."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from copydesk.content._briefs import KEYS, LIST_KEYS, read_brief, validated_brief
from copydesk.content._files import read_text
from copydesk.errors import InvalidInput
from copydesk.records import Brief

_MOST_BYTES: Final = 5 * 1024 * 1024
_MOST_UNPACKED: Final = 100 * 1024 * 1024
_MOST_BRIEFS: Final = 5000
_MOST_SHOWN: Final = 20


def read_briefs(path: Path) -> tuple[Brief, ...]:
    """Briefs from a file: YAML holds one; CSV and XLSX hold one a row under a row of keys.

    In a cell the entries of a list stand on lines of their own or between semicolons.

    Raises:
        InvalidInput: names the file, and of a table the row and everything that is wrong in it.
    """
    match path.suffix.lower():
        case ".yaml" | ".yml":
            return (read_brief(path),)
        case ".csv":
            rows = _csv_rows(path)
        case ".xlsx":
            rows = _xlsx_rows(path)
        case other:
            # A name without an ending has always been read as YAML.
            if not other:
                return (read_brief(path),)
            raise InvalidInput(
                f"Briefs cannot be read from {other} files",
                where=str(path),
                todo="Use .yaml, .csv or .xlsx.",
            )
    return _briefs(rows, path)


def _briefs(rows: Iterator[tuple[int, list[str]]], path: Path) -> tuple[Brief, ...]:
    _, head = next(rows, (0, list[str]()))
    keys = [key.strip().lower().replace(" ", "_") for key in head]
    unknown = [key for key in keys if key and key not in KEYS]
    if unknown or not {"title", "keyword"} & set(keys):
        said = (
            f"has no brief's key {', '.join(unknown)}" if unknown else "names no title or keyword"
        )
        raise InvalidInput(
            f"The table's first row {said}", where=str(path), todo=f"Keys are {', '.join(KEYS)}."
        )
    briefs: list[Brief] = []
    problems: list[str] = []
    for line, cells in rows:
        values = _values(keys, cells)
        if not values:
            continue
        try:
            briefs.append(validated_brief(values, where=None))
        except InvalidInput as error:
            problems.append(f"row {line}: {error.what.removeprefix('The brief cannot be used: ')}")
        if len(briefs) > _MOST_BRIEFS:
            raise InvalidInput(
                f"The table has more than {_MOST_BRIEFS:,} briefs",
                where=str(path),
                todo="Split it.",
            )
    if problems:
        more = len(problems) - _MOST_SHOWN
        shown = "; ".join(problems[:_MOST_SHOWN]) + (f"; and {more} more rows" if more > 0 else "")
        raise InvalidInput(f"Some briefs cannot be used: {shown}", where=str(path))
    if not briefs:
        raise InvalidInput("The table has no briefs below its first row", where=str(path))
    return tuple(briefs)


def _values(keys: Iterable[str], cells: Iterable[str]) -> Mapping[str, object]:
    values: dict[str, object] = {}
    for key, cell in zip(keys, cells, strict=False):
        text = cell.strip()
        if key and text:
            values[key] = _entries(text) if key in LIST_KEYS else text
    return values


def _entries(cell: str) -> list[str]:
    lines = cell.splitlines() if "\n" in cell else cell.split(";")
    return [entry.strip() for entry in lines if entry.strip()]


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = read_text(path, kind="table of briefs", max_bytes=_MOST_BYTES)
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InvalidInput(
            f"The table is not CSV: {error}", where=f"{path}, line {reader.line_num}"
        ) from error


def _xlsx_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    _refuse_bombs(path)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"The workbook cannot be read: {error}", where=str(path)) from error
    try:
        sheet: Any = book.worksheets[0]
        for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
            yield number, ["" if cell is None else _cell(cell) for cell in row]
    finally:
        book.close()


def _cell(cell: object) -> str:
    """A cell as text: a spreadsheet's 150 is stored as 150.0."""
    return f"{cell:g}" if isinstance(cell, float) and cell.is_integer() else str(cell)


def _refuse_bombs(path: Path) -> None:
    """Refuse what is no zip archive, or unpacks to more than a table of briefs can be."""
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
    except FileNotFoundError as error:
        raise InvalidInput("The workbook is not there", where=str(path)) from error
    except (zipfile.BadZipFile, OSError) as error:
        raise InvalidInput("The file is not an .xlsx workbook", where=str(path)) from error
    if size > _MOST_BYTES or unpacked > _MOST_UNPACKED:
        raise InvalidInput(
            "The workbook is too large for a table of briefs", where=str(path), todo="Split it."
        )
