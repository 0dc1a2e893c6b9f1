"""The bytes of one file in; raw records, each with its place, out.

A record that cannot be read becomes a `Rejection` and the reading goes on. A file that is wrong
as a whole raises `UnusableFileError` before the first record.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from copydesk.corpus._pages import FIELDS, TEXT_FIELDS, Place, shown
from copydesk.records import Rejection

_BOM: Final = b"\xef\xbb\xbf"
_FRONT_MATTER_BYTES: Final = 64 * 1024
_FRONT_MATTER_DEPTH: Final = 20
_NOT_BLANK: Final = re.compile(r"[^ \t\r\n]")
# What a spreadsheet would work out (OWASP, CSV injection), told from lists, dashes and mentions.
_FORMULA: Final = re.compile(r"\s*(?:=(?![=\s])|[=+@-][A-Za-z][A-Za-z0-9.]*[(|])")
_SAVE_AS_TEXT: Final = "Save it as text in UTF-8."


class UnusableFileError(Exception):
    """A file that holds no records that could be read."""

    def __init__(self, rule: str, what: str, todo: str) -> None:
        super().__init__(rule, what, todo)
        self.rule = rule
        self.what = what
        self.todo = todo


class Raw(NamedTuple):
    """A record before it is checked."""

    fields: Mapping[str, object]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gathered:
    """A source whose records are at hand: the pages of a site."""

    name: str
    """Its address."""
    records: tuple[Raw | Rejection, ...]

    def __str__(self) -> str:
        return self.name


Source = Path | Gathered


def jsonl_records(path: Path, content: bytes, first_line: int = 1) -> Iterator[Raw | Rejection]:
    """One JSON object a line; blank lines are passed over. `first_line` is the first's number."""
    lines = content.removeprefix(_BOM).split(b"\n")
    if not any(line.lstrip().startswith(b"{") for line in lines) and _wrong_bytes(content):
        raise UnusableFileError(
            "not-utf8", "The file is binary, not lines of JSON", "Save it as JSON lines in UTF-8."
        )
    for number, line in enumerate(lines, start=first_line):
        line = line.strip(b"\r \t")
        if line:
            yield _json_record(line, _place(path, number, line))


def _json_record(line: bytes, place: Place) -> Raw | Rejection:
    wrong = _wrong_bytes(line)
    if wrong:
        return place.reject(*wrong)
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return place.reject(
            "not-json", f"The line is not JSON: {error.msg} at column {error.colno}."
        )
    except ValueError:
        return place.reject("not-json", "The line holds a number that is too long to read.")
    except RecursionError:
        return place.reject("not-json", "The line is JSON that is nested too deeply.")
    if not isinstance(value, dict):
        return place.reject("not-an-object", "The line is JSON but not an object `{...}`.")
    return Raw(value, place)


def json_records(path: Path, content: bytes) -> Iterator[Raw | Rejection]:
    """A list of objects, or one object; lines of JSON under this name are read as such."""
    text = decoded(content)
    start = _skip_blanks(text, 0)
    if text.startswith("[", start):
        yield from _list_records(path, text, start)
    elif _is_object(text[start:].partition("\n")[0]) and text[start:].rstrip().count("\n"):
        yield from jsonl_records(path, content)
    else:
        stripped = text[start:].rstrip().encode()
        yield _json_record(stripped, _place(path, 1 + text.count("\n", 0, start), stripped))


def _list_records(path: Path, text: str, start: int) -> Iterator[Raw | Rejection]:
    """Item by item, so that one is told by the line it starts on; after a fault nothing is read."""
    decoder = json.JSONDecoder()
    line, counted = 1, 0
    at = _skip_blanks(text, start + 1)
    while not text.startswith("]", at):
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, end = decoder.raw_decode(text, at)
            following = _skip_blanks(text, end)
            if text[following : following + 1] not in (",", "]"):
                raise json.JSONDecodeError("expecting ',' or ']'", text, following)
        except (ValueError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
            rest = Place(path=shown(path), line=line, digest="")
            yield rest.reject(
                "not-json", f"The list stops being JSON: {said}. Nothing after it is read."
            )
            return
        raw = text[at:end].encode()
        place = _place(path, line, raw)
        if isinstance(value, dict):
            yield Raw(value, place)
        else:
            yield place.reject("not-an-object", "The item is JSON but not an object `{...}`.")
        at = _skip_blanks(text, following + 1) if text[following] == "," else following


def _skip_blanks(text: str, at: int) -> int:
    found = _NOT_BLANK.search(text, at)
    return found.start() if found else len(text)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def csv_records(
    path: Path, content: bytes, columns: Mapping[str, str] | None
) -> Iterator[Raw | Rejection]:
    """One row a record, below a row of names; `columns` maps our field to the file's column."""
    text = decoded(content)
    # At `\n` alone: `str.splitlines` would also split at separators inside a cell.
    lines = re.findall(r"[^\n]*\n|[^\n]+", text if "\n" in text else text.replace("\r", "\n"))
    # The limit is the process's, and only ever raised: the size of the file bounds a field.
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    heading = next(filter(str.strip, lines), "")
    reader = csv.reader(lines, delimiter=max(",;\t", key=heading.count), strict=True)
    try:
        header = next(filter(None, reader), [])
    except csv.Error as error:
        raise UnusableFileError(
            "bad-csv", f"The row of column names is not CSV: {error}", "Export it again as CSV."
        ) from None
    names = our_names([name.strip() for name in header], columns or {})
    while True:
        start = reader.line_num
        try:
            row, problem = next(reader), None
        except StopIteration:
            return
        except csv.Error as error:
            row, problem = [], f"The row is not CSV: {error}; is a quote missing?"
        place = _place(path, start + 1, "".join(lines[start : reader.line_num]).strip().encode())
        if problem is None and len(row) > len(names):
            problem = f"The row has {len(row)} cells below {len(names)} column names."
        if problem:
            yield place.reject("bad-csv", problem)
        elif any(map(str.strip, row)):
            fields = {name: cell for name, cell in zip(names, row, strict=False) if name}
            formula = next((name for name, cell in fields.items() if _FORMULA.match(cell)), None)
            if formula:
                yield place.reject("formula", f"The cell `{formula}` holds a formula, not text.")
            else:
                yield Raw(fields, place)


def our_names(header: list[str], columns: Mapping[str, str]) -> list[str | None]:
    """The field that each column holds, None for columns that are not ours.

    Raises:
        UnusableFileError: `columns` is wrong, or none holds a text.
    """
    listed = ", ".join(header)
    unknown = [name for name in columns if name not in FIELDS]
    if unknown:
        raise UnusableFileError(
            "bad-csv",
            f"`columns` names unknown fields: {', '.join(unknown)}",
            f"Use {', '.join(FIELDS)}.",
        )
    absent = [column for column in columns.values() if column not in header]
    if absent:
        raise UnusableFileError(
            "bad-csv",
            f"There are no columns named {', '.join(absent)}",
            f"The file's columns are {listed}.",
        )
    ours = {column: name for name, column in columns.items()}
    names: list[str | None] = []
    for column in header:
        name = ours.get(column, column.lower())
        taken = name in FIELDS and (column in ours or name not in columns) and name not in names
        names.append(name if taken else None)
    if not set(names) & set(TEXT_FIELDS):
        raise UnusableFileError(
            "bad-csv",
            "No column holds the text",
            f"Name one `text`, or map it with `columns`; the file's columns are {listed}.",
        )
    return names


def markdown_record(path: Path, content: bytes) -> Raw | Rejection:
    """The whole file is one record: YAML front matter, if any, and the text below it."""
    place = _place(path, None, content)
    text = decoded(content).replace("\r\n", "\n").replace("\r", "\n")
    if text.startswith("+++\n"):
        return place.reject("bad-front-matter", "The front matter is TOML (`+++`), not YAML.")
    matter, body = _split_front_matter(text)
    try:
        fields = _front_matter(matter)
    except ValueError as error:
        return place.reject("bad-front-matter", f"The front matter cannot be used: {error}.")
    for name in TEXT_FIELDS:
        fields.pop(name, None)
    return Raw({**fields, "text": body}, place)


def _split_front_matter(text: str) -> tuple[str, str]:
    """Front matter stands between a first line `---` and the next line `---` or `...`."""
    if not text.startswith("---\n"):
        return "", text
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() in ("---", "..."):
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :])
    return "", text


def _front_matter(matter: str) -> dict[str, object]:
    """The mapping that the YAML spells, every scalar as it was typed (a title may be `1984`).

    Raises:
        ValueError: too large, too deep, with aliases, not YAML, or not a mapping.
    """
    if len(matter.encode()) > _FRONT_MATTER_BYTES:
        raise ValueError(f"it is over {_FRONT_MATTER_BYTES // 1024} KiB")
    try:
        _check_events(matter)
        # The base loader knows text, lists and mappings only: it is safe, and it does not turn
        # `10:30` into 630 or `no` into False as the safe loader does.
        value: object = yaml.load(matter, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" on line {mark.line + 2}" if mark else ""
        raise ValueError(f"{error.problem or error.context or 'it is not YAML'}{line}") from None
    except yaml.YAMLError:
        raise ValueError("it holds characters that YAML does not allow") from None
    except (RecursionError, OverflowError, IndexError):
        raise ValueError("it is not YAML") from None
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise ValueError("it is not a list of `name: value` lines")
    fields = {str(name).lower(): field for name, field in value.items()}
    return {name: None if field in ("~", "null") else field for name, field in fields.items()}


def _check_events(matter: str) -> None:
    """Walk the YAML without building it: a few bytes of nested aliases spell gigabytes."""
    depth = 0
    for event in yaml.parse(matter, Loader=yaml.BaseLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError("anchors and aliases (`&name`, `*name`) are not allowed")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _FRONT_MATTER_DEPTH:
            raise ValueError(f"it is nested more than {_FRONT_MATTER_DEPTH} deep")


def _place(path: Path, line: int | None, raw: bytes) -> Place:
    return raw_place(shown(path), line, raw, shown(Path(path.stem)) if line is None else None)


def raw_place(path: str, line: int | None, raw: bytes, title: str | None = None) -> Place:
    """Where a record stands whose bytes are `raw`; `title` is for one that has none."""
    return Place(path=path, line=line, digest=hashlib.sha256(raw).hexdigest(), title=title)


def decoded(content: bytes) -> str:
    """The text of a whole file.

    Raises:
        UnusableFileError: it holds NUL bytes or is not UTF-8.
    """
    content = content.removeprefix(_BOM)
    wrong = _wrong_bytes(content)
    if wrong:
        rule, reason = wrong
        raise UnusableFileError(rule, reason.removesuffix("."), _SAVE_AS_TEXT)
    return content.decode()


def _wrong_bytes(content: bytes) -> tuple[str, str] | None:
    """(rule, reason) where the bytes are not text."""
    if b"\0" in content:
        return "null-bytes", "It holds NUL bytes: it is binary, or text in UTF-16."
    try:
        content.decode()
    except UnicodeDecodeError as error:
        byte = content[error.start]
        return "not-utf8", f"It is not UTF-8: byte 0x{byte:02x} at offset {error.start:,}."
    return None
