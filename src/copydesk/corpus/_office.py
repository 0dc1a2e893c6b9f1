"""Office files in: rows of XLSX as records, a DOCX as one record of Markdown.

Both are ZIP files of XML. They are looked over before they are parsed: what they would unpack to,
and that no part declares entities.
"""

import datetime
import io
import itertools
import json
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import docx
import openpyxl
from docx.table import Table
from docx.text.paragraph import Paragraph
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - in C, no stubs
from openpyxl.utils.exceptions import InvalidFileException

from copydesk.corpus._pages import shown
from copydesk.corpus._readers import Raw, UnusableFileError, our_names, raw_place
from copydesk.corpus._words import clean_line
from copydesk.records import Rejection

_LARGEST: Final = 512 * 1024 * 1024
"""Bytes that a file may unpack to."""
_LARGEST_TREE: Final = 64 * 1024 * 1024
"""Bytes of a Word file's XML, which is in memory as a tree of many times that size."""
_XML: Final = (".xml", ".rels")
_PROLOGUE: Final = 64 * 1024
"""A document type stands before the root element."""
_BROKEN: Final = (
    *(InvalidFileException, zipfile.BadZipFile, zlib.error, etree.LxmlError, EOFError, OSError),
    *(LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError),
    *(SyntaxError, AssertionError),
)
"""What the parsers raise of files that are not as they should be."""


def xlsx_records(
    path: Path, content: bytes, columns: Mapping[str, str] | None
) -> Iterator[Raw | Rejection]:
    """One row a record, below a row of names, of each sheet; cells of formulas give their values.

    Raises:
        UnusableFileError: it is no XLSX, or no sheet has a column of texts.
    """
    _look_over(content, _LARGEST)
    try:
        with warnings.catch_warnings(action="ignore"):
            book = openpyxl.load_workbook(
                io.BytesIO(content), read_only=True, data_only=True, keep_links=False
            )
    except _BROKEN as error:
        raise _unusable("XLSX", error) from None
    problem: UnusableFileError | None = None
    used = False
    for sheet in book.worksheets:
        rows = _rows(sheet)
        header = next((cells for _, cells in rows if any(cells)), None)
        if header is None:
            continue
        try:
            names = our_names([cell.strip() for cell in header], columns or {})
        except UnusableFileError as unusable:
            problem = problem or unusable
            continue
        used = True
        yield from _sheet_records(f"{shown(path)} sheet {sheet.title}", names, rows)
    if not used:
        raise problem or UnusableFileError(
            "no-text", "The workbook holds no rows", "Check that the export was completed."
        )


def _sheet_records(
    where: str, names: list[str | None], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[Raw | Rejection]:
    for number, cells in rows:
        raw = json.dumps(cells, ensure_ascii=False).encode("utf-8", "replace")
        place = raw_place(where, number, raw)
        if any(cell.strip() for cell in cells):
            pairs = zip(names, cells, strict=False)
            yield Raw({name: cell for name, cell in pairs if name}, place)


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    try:
        with warnings.catch_warnings(action="ignore"):
            for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                yield number, [_cell(value) for value in row]
    except _BROKEN as error:
        raise _unusable("XLSX", error) from None


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def docx_record(path: Path, content: bytes) -> Raw:
    """The whole document is one record: headings, paragraphs, lists and tables.

    Raises:
        UnusableFileError: it is no DOCX.
    """
    _look_over(content, _LARGEST_TREE)
    place = raw_place(shown(path), None, content, shown(Path(path.stem)))
    try:
        document = docx.Document(io.BytesIO(content))
        title = clean_line(document.core_properties.title or "")
        blocks: list[str] = []
        for item in document.iter_inner_content():
            if isinstance(item, Table):
                blocks.append(_table(item))
                continue
            style = (item.style.name or "") if item.style else ""
            if style == "Title" and item.text.strip():
                title = clean_line(item.text)
            else:
                blocks.append(_paragraph(item, style))
    except _BROKEN as error:
        raise _unusable("DOCX", error) from None
    text = "\n\n".join(block for block in blocks if block.strip())
    return Raw({"title": title or None, "text": _close_lists(text)}, place)


def _paragraph(paragraph: Paragraph, style: str) -> str:
    text = paragraph.text.strip()
    if not text:
        return ""
    if style.startswith("Heading ") and style[8:].isdecimal():
        return f"{'#' * min(int(style[8:]), 6)} {clean_line(text)}"
    if style.startswith("List Bullet"):
        return f"- {text}"
    if style.startswith("List Number"):
        return f"1. {text}"
    if style in ("Quote", "Intense Quote"):
        return f"> {text}"
    return text


def _close_lists(text: str) -> str:
    """Items of one list stand on lines below one another."""
    lines = text.split("\n\n")
    joined = lines[:1]
    for before, line in itertools.pairwise(lines):
        same = any(before.startswith(mark) and line.startswith(mark) for mark in ("- ", "1. "))
        joined.append(("\n" if same else "\n\n") + line)
    return "".join(joined)


def _table(table: Table) -> str:
    rows = [[clean_line(cell.text).replace("|", "\\|") for cell in row.cells] for row in table.rows]
    rows = [row for row in rows if any(row)]
    if not rows:
        return ""
    width = max(map(len, rows))
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])


def _look_over(content: bytes, largest_xml: int) -> None:
    """Refuse what would unpack to too much, is locked, or declares entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            xml = [part for part in parts if part.filename.endswith(_XML)]
            for some, most in ((parts, _LARGEST), (xml, largest_xml)):
                if sum(part.file_size for part in some) > most:
                    raise UnusableFileError(
                        "zip-bomb",
                        f"It would unpack to more than {most:,} bytes",
                        "Split it into parts.",
                    )
            for part in parts:
                if part.flag_bits & 1:
                    raise UnusableFileError(
                        "encrypted", "It is protected by a password", "Save it without one."
                    )
                if part.filename.endswith(_XML):
                    with archive.open(part) as file:
                        _check_prologue(file.read(_PROLOGUE))
    except _BROKEN as error:
        raise _unusable("XLSX or DOCX", error) from None


def _check_prologue(start: bytes) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:8]:
        raise UnusableFileError("not-utf8", "A part of it is not UTF-8", "Save it again.")
    if b"<!DOCTYPE" in start or b"<!ENTITY" in start:
        raise UnusableFileError(
            "xml-entities",
            "A part of it declares a document type or entities, which are not read",
            "Save it again with an office program.",
        )


def _unusable(kind: str, error: BaseException) -> UnusableFileError:
    said = str(error) or type(error).__name__
    return UnusableFileError(
        "not-office", f"It is not {kind} that can be read: {said[:200]}", "Save it again."
    )
