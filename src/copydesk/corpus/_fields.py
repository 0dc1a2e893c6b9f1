"""Fields of a raw record, checked: text, one line of text, a day."""

import datetime
import re
from collections.abc import Mapping
from typing import Final

from copydesk.corpus._words import clean_line
from copydesk.native import utf8_of

LONGEST_LINE: Final = 500
_DATE: Final = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})(?:[T\s].*)?", re.DOTALL)


class UnfitError(Exception):
    """The record cannot be taken; caught where the file is read."""

    def __init__(
        self,
        rule: str,
        reason: str,
        *,
        id: str | None = None,  # noqa: A002 - the name that documents and rejections share
        value: float | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason
        self.id = id
        self.value = value
        self.threshold = threshold


def line_field(record: Mapping[str, object], name: str) -> str | None:
    """A field that holds one line of text or a whole number; None where it is empty."""
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnfitError("bad-field", f"The field `{name}` holds {kind_name(value)}, not text.")
    # Measured before it is converted: Python refuses to print very long integers.
    if isinstance(value, int) and value.bit_length() > 64:
        raise UnfitError("bad-field", f"The field `{name}` holds too large a number.")
    text = str(value)
    if len(text) > LONGEST_LINE:
        raise UnfitError(
            "too-long",
            f"The field `{name}` has {len(text):,} characters; at most {LONGEST_LINE} are taken.",
        )
    check_characters(name, text)
    return clean_line(text) or None


def check_characters(name: str, text: str) -> None:
    """Refuse what no file in UTF-8 holds as text."""
    if "\0" in text:
        raise UnfitError("null-bytes", f"The field `{name}` holds a NUL character.")
    try:
        utf8_of(text)
    except UnicodeEncodeError:
        raise UnfitError(
            "not-utf8", f"The field `{name}` holds half of a surrogate pair, which is no character."
        ) from None


def kind_name(value: object) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "a table"


def day(written: str | None) -> str | None:
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
    raise UnfitError("bad-date", f"The date is {written[:40]!r}; write it as YYYY-MM-DD.")
