"""One raw record in; a document, or the reason why it is none, out."""

import datetime
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._words import clean_line, clean_text, headings, slug, word_count
from copydesk.records import Document, Rejection

TEXT_FIELDS: Final = ("body_markdown", "text", "body", "content")
FIELDS: Final = (
    *("id", "title", *TEXT_FIELDS, "format", "date", "keyword", "description", "url_or_path"),
)
_LONGEST_LINE: Final = 500
_DATE: Final = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})(?:[T\s].*)?", re.DOTALL)
_FORMAT: Final = re.compile(r"[a-z0-9][a-z0-9 _-]{0,39}")


def shown(path: Path) -> str:
    """The path as text; bytes of a file's name that are not UTF-8 are shown as such."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a raw record stands."""

    path: str
    line: int | None
    """First line, from 1; None where the file is one record."""
    digest: str
    """SHA-256 of its raw bytes."""
    title: str | None = None
    """The title of a record that has none."""

    @property
    def source(self) -> str:
        """As `Document.source` spells it."""
        return self.path if self.line is None else f"{self.path}:{self.line}"

    def reject(self, rule: str, reason: str) -> Rejection:
        """Leave out the record that stands here."""
        return Rejection(source=self.path, line=self.line, rule=rule, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A document and where it was found."""

    document: Document
    place: Place


class _UnfitError(Exception):
    """The record cannot be a page; caught in this module."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason


def page_of(
    record: Mapping[str, object], place: Place, *, client: str, settings: CurateSettings
) -> Page | Rejection:
    """Check and clean one record. Fields that are not ours are ignored."""
    try:
        return Page(document=_document(record, place, client, settings), place=place)
    except _UnfitError as unfit:
        return place.reject(unfit.rule, unfit.reason)


def _document(
    record: Mapping[str, object], place: Place, client: str, settings: CurateSettings
) -> Document:
    body = _body(record, settings)
    text = clean_text(body)
    title = _line(record, "title") or _first_title(text) or clean_line(place.title or "")
    if not title:
        raise _UnfitError("no-title", "There is no title: no field `title`, no `# ` heading.")
    text = _without_title(text, title)
    page_format = (_line(record, "format") or "blog").lower()
    if not _FORMAT.fullmatch(page_format):
        raise _UnfitError(
            "bad-field",
            f"The field `format` is {page_format[:40]!r}; a format is up to 40 letters and digits.",
        )
    words, fewest = word_count(text), settings.fewest_words(page_format)
    if not text:
        raise _UnfitError("no-text", "There is no text below the title.")
    if words < fewest:
        raise _UnfitError(
            "too-short", f"It has {words} words; a {page_format} page needs at least {fewest}."
        )
    return Document(
        id=_line(record, "id") or _made_id(title, text),
        client=client,
        title=title,
        text=text,
        format=page_format,
        date=_date(_line(record, "date")),
        keyword=_line(record, "keyword"),
        source=place.source,
        sha256=place.digest,
    )


def _body(record: Mapping[str, object], settings: CurateSettings) -> str:
    for name in TEXT_FIELDS:
        value = record.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if not isinstance(value, str):
            raise _UnfitError("no-text", f"The field `{name}` holds {_kind(value)}, not text.")
        if len(value) > settings.max_record_chars:
            raise _UnfitError(
                "too-long",
                f"Its text has {len(value):,} characters; "
                f"at most {settings.max_record_chars:,} are taken.",
            )
        _check_characters(name, value)
        return value
    raise _UnfitError("no-text", f"There is no text in any of {', '.join(TEXT_FIELDS)}.")


def _line(record: Mapping[str, object], name: str) -> str | None:
    """A field that holds one line of text or a whole number; None where it is empty."""
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _UnfitError("bad-field", f"The field `{name}` holds {_kind(value)}, not text.")
    # Measured before it is converted: Python refuses to print very long integers.
    if isinstance(value, int) and value.bit_length() > 64:
        raise _UnfitError("bad-field", f"The field `{name}` holds too large a number.")
    text = str(value)
    if len(text) > _LONGEST_LINE:
        raise _UnfitError(
            "too-long",
            f"The field `{name}` has {len(text):,} characters; at most {_LONGEST_LINE} are taken.",
        )
    _check_characters(name, text)
    return clean_line(text) or None


def _check_characters(name: str, text: str) -> None:
    if "\0" in text:
        raise _UnfitError("null-bytes", f"The field `{name}` holds a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _UnfitError(
            "not-utf8", f"The field `{name}` holds half of a surrogate pair, which is no character."
        ) from None


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a table"


def _date(written: str | None) -> str | None:
    """`YYYY-MM-DD`; a time of day and its zone are dropped: the day is the one written."""
    if written is None:
        return None
    found = _DATE.fullmatch(written)
    try:
        if found:
            year, month, day = map(int, found.groups())
            return datetime.date(year, month, day).isoformat()
    except ValueError:
        pass
    raise _UnfitError("bad-date", f"The date is {written[:40]!r}; write it as YYYY-MM-DD.")


def _first_title(text: str) -> str | None:
    first = next((words for level, words in headings(text) if level == 1), "")
    return first if len(first) <= _LONGEST_LINE else None


def _without_title(text: str, title: str) -> str:
    """Drop a leading `# ` heading that repeats the title: the text of a page is without it."""
    first, _, rest = text.partition("\n")
    found = next(headings(first), None)
    if found and found[0] == 1 and clean_line(found[1]).casefold() == title.casefold():
        return rest.strip()
    return text


def _made_id(title: str, text: str) -> str:
    digest = hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:8]
    return f"{slug(title) or 'page'}-{digest}"
