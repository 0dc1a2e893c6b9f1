"""Posts and ready-made chats in; clean, deduplicated, traceable documents and examples out.

`curate` takes a client's pages in memory; `clean_corpus` takes a corpus of any size in parts, by
the same steps.

A record is taken or rejected with a reason, never silently dropped; near-duplicates are found over
the whole set before it is split, so none stands on both sides.

Reads: JSONL, JSON, CSV, XLSX, Markdown, HTML, DOCX, WordPress exports and folders of them; style
guides (TOML or prose); by `corpus.web` sites, by `corpus.search` search results, which are imported
by those names, as they need the network's libraries. Writes: JSONL of documents, chats and
rejections; a site's folder; kernels that it compiled, into the user's cache. Does not know: tokens,
models, the catalogue.
"""

from copydesk.corpus._briefs import (
    BRIEF_TEMPLATE_VERSION,
    brief_text,
    document_brief,
    document_example,
    document_examples,
    material_example,
)
from copydesk.corpus._card import dataset_card
from copydesk.corpus._curate import Curated, curate
from copydesk.corpus._duplicates import without_copies
from copydesk.corpus._intent import intent_of, length_band
from copydesk.corpus._lines import (
    add_rejections,
    each_material,
    each_rejection,
    read_material,
    write_material,
    write_rejections,
)
from copydesk.corpus._pipeline import CleanedCorpus, Mapper, clean_corpus, in_processes
from copydesk.corpus._ray import in_ray
from copydesk.corpus._readers import Gathered, Source
from copydesk.corpus._rights import read_right
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._sources import read_sources
from copydesk.corpus._style_guide import read_style_guide
from copydesk.corpus._words import plain, prose_lines, shingles, word_count

__all__ = [
    "BRIEF_TEMPLATE_VERSION",
    "CleanedCorpus",
    "CurateSettings",
    "Curated",
    "Gathered",
    "Mapper",
    "Source",
    "add_rejections",
    "brief_text",
    "clean_corpus",
    "curate",
    "dataset_card",
    "document_brief",
    "document_example",
    "document_examples",
    "each_material",
    "each_rejection",
    "in_processes",
    "in_ray",
    "intent_of",
    "length_band",
    "material_example",
    "plain",
    "prose_lines",
    "read_material",
    "read_right",
    "read_sources",
    "read_style_guide",
    "shingles",
    "without_copies",
    "word_count",
    "write_material",
    "write_rejections",
]
