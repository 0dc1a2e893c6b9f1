"""Drafts in the workspace: the Markdown for people, and beside it the record with its findings."""

import re
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from copydesk.content import draft_as, draft_markdown
from copydesk.records import Brief, Draft, Fact, Finding, Link
from copydesk.store import json_bytes, read_json, replace_bytes

_SAVING = threading.Lock()
"""A server saves drafts of several requests at once; each takes a number of its own."""


def save_draft(folder: Path, draft: Draft) -> Path:
    """Write a draft under a name that no other has; returns the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    with _SAVING:
        number = 1 + max((_number(path) for path in folder.glob("*.json")), default=0)
        path = folder / f"{number:04d}-{draft.slug}.md"
        replace_bytes(path, draft_markdown(draft).encode())
        replace_bytes(path.with_suffix(".json"), json_bytes(asdict(draft)))
    return path


def save_as(path: Path, draft: Draft, to: str) -> Path:
    """Write a draft beside its Markdown in another form; returns the file."""
    if to in ("md", "json"):
        return path.with_suffix(f".{to}")
    ending = "xml" if to == "wxr" else to
    other = path.with_suffix(f".{ending}")
    replace_bytes(other, draft_as(draft, to))
    return other


def read_drafts(folder: Path) -> tuple[Draft, ...]:
    """All drafts of a folder, oldest first."""
    return tuple(_draft(read_json(path)) for path in sorted(folder.glob("*.json"), key=_number))


def _number(path: Path) -> int:
    match = re.match(r"\d+", path.name)
    return int(match[0]) if match else 0


def read_draft_record(path: Path) -> Draft | None:
    """The draft that a `.json` beside a Markdown file records; None where it is something else."""
    raw = read_json(path)
    if not isinstance(raw, dict) or not {"brief", "client", "text"} <= raw.keys():
        return None
    return _draft(raw)


def _draft(raw: Any) -> Draft:
    brief: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in raw["brief"].items()
    }
    # Drafts from before there were facts and links have none.
    brief["facts"] = tuple(Fact(**fact) for fact in brief.get("facts", ()))
    brief["links"] = tuple(Link(**link) for link in brief.get("links", ()))
    findings = tuple(Finding(**finding) for finding in raw["findings"])
    return Draft(**(raw | {"brief": Brief(**brief), "findings": findings}))
