"""Drafts in the workspace: the Markdown for people, and beside it the record with its findings."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from copydesk.content import draft_markdown
from copydesk.records import Brief, Draft, Finding
from copydesk.store import json_bytes, read_json, replace_bytes


def save_draft(folder: Path, draft: Draft) -> Path:
    """Write a draft under a name that no other has; returns the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + max((_number(path) for path in folder.glob("*.json")), default=0)
    path = folder / f"{number:04d}-{draft.slug}.md"
    replace_bytes(path, draft_markdown(draft).encode())
    replace_bytes(path.with_suffix(".json"), json_bytes(asdict(draft)))
    return path


def read_drafts(folder: Path) -> tuple[Draft, ...]:
    """All drafts of a folder, oldest first."""
    return tuple(_draft(read_json(path)) for path in sorted(folder.glob("*.json"), key=_number))


def _number(path: Path) -> int:
    match = re.match(r"\d+", path.name)
    return int(match[0]) if match else 0


def _draft(raw: Any) -> Draft:
    brief = raw["brief"]
    return Draft(
        **(
            raw
            | {
                "brief": Brief(
                    **brief | {name: tuple(brief.get(name, ())) for name in ("points", "outline")}
                ),
                "findings": tuple(Finding(**finding) for finding in raw["findings"]),
            }
        )
    )
