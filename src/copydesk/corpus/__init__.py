"""Posts and ready-made chats in; clean, deduplicated, traceable documents and examples out.

A record is taken or rejected with a reason, never silently dropped; near-duplicates are found over
the whole set before it is split, so none stands on both sides.

Reads: JSONL, JSON, CSV, Markdown files and folders of them; style guides (TOML or prose). Writes:
JSONL of documents, chats and rejections. Does not know: tokens, models, the store.
"""

from copydesk.corpus._briefs import (
    BRIEF_TEMPLATE_VERSION,
    brief_text,
    document_brief,
    document_example,
    material_example,
)
from copydesk.corpus._curate import Curated, curate
from copydesk.corpus._lines import (
    read_material,
    write_material,
    write_rejections,
)
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._sources import read_sources
from copydesk.corpus._style_guide import read_style_guide
from copydesk.corpus._words import plain, prose_lines, shingles, word_count

__all__ = [
    "BRIEF_TEMPLATE_VERSION",
    "CurateSettings",
    "Curated",
    "brief_text",
    "curate",
    "document_brief",
    "document_example",
    "material_example",
    "plain",
    "prose_lines",
    "read_material",
    "read_sources",
    "read_style_guide",
    "shingles",
    "word_count",
    "write_material",
    "write_rejections",
]
