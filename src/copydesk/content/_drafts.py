"""Drafts as Markdown files: with front matter when Copydesk writes them, as they come when read."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from copydesk.content._files import read_text
from copydesk.content._yaml import BadYamlError, parse_yaml
from copydesk.errors import InvalidInput
from copydesk.records import Draft

MAX_DRAFT_BYTES: Final = 1024 * 1024
_FENCE = "---"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftFile:
    """A draft read from a file."""

    title: str | None
    keyword: str | None
    format: str | None
    slug: str | None
    meta_description: str | None
    text: str
    """Markdown without front matter and title; what findings' spans refer to."""
    version: str | None = None
    """`client@n` that wrote it, where the front matter says so."""


def read_draft(path: Path) -> DraftFile:
    """A draft from a Markdown file with YAML front matter, or a `# ` heading, or neither.

    From the front matter, title, keyword, format, slug and meta_description are used and other keys
    are left alone; a title there is the title, and a heading in the text stays in it.

    Raises:
        InvalidInput: names a file that is missing, empty, binary, not UTF-8 or over 1 MiB, or
            whose front matter is not YAML, or that has no text beside its title.
    """
    whole = read_text(path, kind="draft", max_bytes=MAX_DRAFT_BYTES)
    matter, text = _split(whole, path)
    title = _field(matter, "title")
    text = text.strip("\n")
    if title is None:
        first, _, rest = text.lstrip().partition("\n")
        heading = first.removeprefix("# ").strip().rstrip("#").strip()
        if first.startswith("# ") and heading:
            title, text = heading, rest.strip("\n")
    if not text.strip():
        raise InvalidInput("The draft has no text beside its title", where=str(path))
    return DraftFile(
        title=title,
        keyword=_field(matter, "keyword"),
        format=_field(matter, "format"),
        slug=_field(matter, "slug"),
        meta_description=_field(matter, "meta_description"),
        text=text,
        version=_field(matter, "version"),
    )


def draft_markdown(draft: Draft) -> str:
    """A draft as a Markdown file's text: front matter, a blank line and the text.

    `read_draft` gives the same title, keyword, format and text back, so that the findings' spans
    hold there too.
    """
    matter = {
        "title": draft.title,
        "slug": draft.slug,
        "meta_description": draft.meta_description,
        "keyword": draft.brief.keyword,
        "format": draft.brief.format,
        "client": draft.client,
        "version": draft.version,
    }
    given = {key: value for key, value in matter.items() if value is not None}
    dumped = yaml.safe_dump(given, allow_unicode=True, sort_keys=False, width=2**20)
    return f"{_FENCE}\n{dumped}{_FENCE}\n\n{draft.text}\n"


def _split(whole: str, path: Path) -> tuple[dict[str, object], str]:
    """Front matter, empty where there is none, and the text below it."""
    if not whole.startswith(_FENCE + "\n"):
        return {}, whole
    head, fence, text = whole[len(_FENCE) :].partition(f"\n{_FENCE}\n")
    if not fence:
        if not whole.endswith(f"\n{_FENCE}"):
            # A rule at the top of the page, not front matter.
            return {}, whole
        head, text = whole[len(_FENCE) : -len(_FENCE)], ""
    try:
        values = parse_yaml(head)
    except BadYamlError as problem:
        raise InvalidInput(
            f"The draft's front matter is not usable YAML: {problem}", where=str(path)
        ) from problem
    if values is None:
        return {}, text
    if not isinstance(values, dict):
        # Prose between two rules.
        return {}, whole
    return {str(key): value for key, value in values.items()}, text


def _field(matter: dict[str, object], key: str) -> str | None:
    value = matter.get(key)
    # A long title may be wrapped in the YAML.
    return re.sub(r"\s*\n\s*", " ", value).strip() or None if isinstance(value, str) else None
