"""A comparison as files for other programs: exact figures as CSV, the page's table as Markdown."""

import csv
import io
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from copydesk.app.report import Cell, Line, Table, headline, measures, predictions_table
from copydesk.errors import InvalidInput
from copydesk.records import Comparison, MethodRow
from copydesk.store import replace_bytes

_LEFT_OUT = ("swept", "curve")
"""Lists of their own; `--json` has them."""
_INTERVALS = ("heldout_loss_ci", "relative_performance_ci")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets run a text that begins so (OWASP, CSV Injection; the last four are full width)."""
_MARKUP = re.compile(r"([\\`*_\[\]<>&|~#])")
_LIST = re.compile(r"^(\d*)([-+.)])")


def check_targets(*paths: Path | None) -> None:
    """Refuse files that could not be written, before the work that they are for is done.

    Raises:
        InvalidInput: one is a folder, or lies in no folder.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder", todo="Name a file in it.")
        if not path.parent.is_dir():
            raise InvalidInput(f"There is no folder {path.parent}", todo="Create it first.")


def write_files(comparison: Comparison, *, csv: Path | None, markdown: Path | None) -> list[Path]:
    """Write what is asked for, each whole or not at all; returns the paths written.

    Raises:
        NoRoom: the disk is full or may not be written.
    """
    made = [(csv, comparison_csv), (markdown, comparison_markdown)]
    for path, render in made:
        if path is not None:
            replace_bytes(path, render(comparison).encode("utf-8", "replace"))
    return [path for path, _ in made if path is not None]


def comparison_csv(comparison: Comparison) -> str:
    """A line a method, with the figures as they were measured, unrounded; what is unknown is empty.

    Columns are named as in `--json`; an interval is two, `_low` and `_high`. A text that a
    spreadsheet would run as a formula gets an apostrophe before it.
    """
    file = io.StringIO()
    lines = [_record(comparison, row) for row in comparison.rows]
    writer = csv.DictWriter(file, fieldnames=_columns())
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def comparison_markdown(comparison: Comparison) -> str:
    """The verdict and the page's table, with the page's rounding."""
    said = headline(comparison)
    parts = [f"# {_plain(comparison.client)} on {_plain(comparison.base)}"]
    parts += [f"**{_plain(said)}**"] if said else []
    # A number with a dot, at a paragraph's beginning, would begin a list.
    parts += [_LIST.sub(r"\1\\\2", _plain(comparison.verdict))] if comparison.verdict else []
    for caption, table in (
        ("", measures(comparison)),
        ("Predicted and measured", predictions_table(comparison)),
    ):
        if table.lines:
            parts += [f"## {caption}"] if caption else []
            parts.append(_table(table))
    parts.append(
        f"{comparison.train_documents} training pages, {comparison.heldout_documents} held-out "
        "pages; in brackets 95% intervals. Measured "
        + _plain(" on ".join(part for part in (comparison.created, comparison.machine) if part))
        + "."
    )
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    grouped = [name for name, span in table.groups for _ in range(span)]
    # Heads that several groups share are told apart by the group.
    heads = [
        f"{group}, {head.lower()}" if table.columns.count(head) > 1 else head
        for group, head in zip(grouped or table.columns, table.columns, strict=True)
    ]
    rows = [
        ["Method", *heads],
        ["---", *["---:"] * len(heads)],
        *([_name(line), *(_figure(cell) for cell in line.cells)] for line in table.lines),
    ]
    # The second row is markup itself.
    cells = [row if n == 1 else [_plain(cell) for cell in row] for n, row in enumerate(rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _columns() -> list[str]:
    named = ["client", "base", "created", "recommended"]
    for field in fields(MethodRow):
        if field.name in _INTERVALS:
            named += [f"{field.name}_low", f"{field.name}_high"]
        elif field.name not in _LEFT_OUT:
            named.append(field.name)
    return named


def _record(comparison: Comparison, row: MethodRow) -> dict[str, str]:
    values: dict[str, Any] = {
        "client": comparison.client,
        "base": comparison.base,
        "created": comparison.created,
        "recommended": "yes" if row.method == comparison.recommended else "no",
    }
    for field in fields(MethodRow):
        value = getattr(row, field.name)
        if field.name in _INTERVALS:
            values[f"{field.name}_low"], values[f"{field.name}_high"] = value or (None, None)
        elif field.name == "tied_with":
            values[field.name] = " ".join(row.tied_with)
        elif field.name not in _LEFT_OUT:
            values[field.name] = value
    return {name: _exact(value) for name, value in values.items()}


def _exact(value: str | float | None) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if value is None or not math.isfinite(value):
        return ""
    return repr(value)


def _name(line: Line) -> str:
    notes = [line.tag.lower(), *line.notes, line.problem]
    said = "; ".join(note for note in notes if note)
    return f"{line.name} ({said})" if said else line.name


def _figure(cell: Cell) -> str:
    return f"{cell.value} ({cell.note})" if cell.note else cell.value


def _plain(text: str) -> str:
    """Words that mean only themselves within a line of Markdown."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
