"""One raw record in; a document, or the reason why it is none, out. Also where records stand."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from copydesk.corpus._fields import (
    LONGEST_LINE,
    UnfitError,
    check_characters,
    day,
    kind_name,
    line_field,
)
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._words import (
    clean_line,
    clean_text,
    has_words,
    headings,
    slug,
    word_count,
)
from copydesk.records import Document, Material, Rejection

TEXT_FIELDS: Final = ("body_markdown", "text", "body", "content")
FIELDS: Final = (
    *("id", "title", *TEXT_FIELDS, "format", "date", "keyword", "description", "url_or_path"),
    *("url", "retrieved", "right"),
)
_FORMAT: Final = re.compile(r"[a-z0-9][a-z0-9 _-]{0,39}")


def shown(path: Path) -> str:
    """The path as text; bytes of a file's name that are not UTF-8 are shown as such."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


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

    def reject(
        self,
        rule: str,
        reason: str,
        *,
        id: str | None = None,  # noqa: A002 - the name that documents and rejections share
        value: float | None = None,
        threshold: float | None = None,
    ) -> Rejection:
        """Leave out the record that stands here."""
        return Rejection(
            source=self.path,
            line=self.line,
            rule=rule,
            reason=reason,
            id=id,
            value=value,
            threshold=threshold,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A document or chat and where it was found."""

    material: Material
    place: Place


def document_of(
    record: Mapping[str, object],
    place: Place,
    *,
    client: str,
    settings: CurateSettings,
    may_be_plain: bool,
) -> Document:
    """Check and clean one record. Fields that are not ours are ignored.

    Args:
        record: field -> value.
        place: where it stands.
        client: whose it is.
        settings: limits.
        may_be_plain: a record without any title is a plain text, where its only text is `text`.

    Raises:
        UnfitError: it cannot be a page.
    """
    body = _body(record, settings)
    text = clean_text(body)
    title = line_field(record, "title") or _first_title(text) or clean_line(place.title or "")
    if not title and not (may_be_plain and _is_plain(record)):
        raise UnfitError("no-title", "There is no title: no field `title`, no `# ` heading.")
    text = _without_title(text, title)
    page_format = (line_field(record, "format") or ("blog" if title else "text")).lower()
    if not _FORMAT.fullmatch(page_format):
        raise UnfitError(
            "bad-field",
            f"The field `format` is {page_format[:40]!r}; a format is up to 40 letters and digits.",
        )
    fewest = settings.fewest_words(page_format)
    if not text:
        raise UnfitError("no-text", "There is no text below the title.")
    name = line_field(record, "id") or _made_id(title, text)
    if name not in settings.keep and not has_words(text, fewest):
        words = word_count(text)
        raise UnfitError(
            "too-short",
            f"It has {words} words; a {page_format} page needs at least {fewest}.",
            id=name,
            value=words,
            threshold=fewest,
        )
    return Document(
        id=name,
        client=client,
        title=title,
        text=text,
        format=page_format,
        date=day(line_field(record, "date")),
        keyword=line_field(record, "keyword"),
        url=line_field(record, "url"),
        retrieved=line_field(record, "retrieved"),
        right=line_field(record, "right"),
        source=place.source,
        sha256=place.digest,
    )


def _body(record: Mapping[str, object], settings: CurateSettings) -> str:
    for name in TEXT_FIELDS:
        value = record.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if not isinstance(value, str):
            raise UnfitError("no-text", f"The field `{name}` holds {kind_name(value)}, not text.")
        if len(value) > settings.max_record_chars:
            raise UnfitError(
                "too-long",
                f"Its text has {len(value):,} characters; "
                f"at most {settings.max_record_chars:,} are taken.",
            )
        check_characters(name, value)
        return value
    raise UnfitError("no-text", f"There is no text in any of {', '.join(TEXT_FIELDS)}.")


def _is_plain(record: Mapping[str, object]) -> bool:
    """Whether it has `text` and no field that belongs to a page."""
    of_pages = {"title", *TEXT_FIELDS, "keyword", "description", "url_or_path"} - {"text"}
    return record.get("text") is not None and not any(record.get(name) for name in of_pages)


def _first_title(text: str) -> str | None:
    first = next((words for level, words in headings(text) if level == 1), "")
    return first if len(first) <= LONGEST_LINE else None


def _without_title(text: str, title: str) -> str:
    """Drop a leading `# ` heading that repeats the title: the text of a page is without it."""
    first, _, rest = text.partition("\n")
    found = next(headings(first), None)
    if found and found[0] == 1 and clean_line(found[1]).casefold() == title.casefold():
        return rest.strip()
    return text


def _made_id(title: str, text: str) -> str:
    digest = hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:8]
    return f"{slug(title) or ('page' if title else 'text')}-{digest}"
