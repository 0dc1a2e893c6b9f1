"""Search-result pages in; records of one shape out: results, questions, related searches.

They feed briefs, topic coverage and plagiarism indexes. They are other people's text, so nothing
here makes documents of them, and no client trains on them.

Reads: exports of search providers, as files; live answers where a key is in the environment.
Writes: JSONL of pages. Does not know: clients, documents.
"""

from copydesk.corpus.search._exports import (
    Export,
    read_exports,
    read_search_pages,
    write_search_pages,
)
from copydesk.corpus.search._live import LIVE_PROVIDERS, LiveProvider, search_live
from copydesk.corpus.search._records import Provider, SearchPage, SearchQuestion, SearchResult

__all__ = [
    "LIVE_PROVIDERS",
    "Export",
    "LiveProvider",
    "Provider",
    "SearchPage",
    "SearchQuestion",
    "SearchResult",
    "read_exports",
    "read_search_pages",
    "search_live",
    "write_search_pages",
]
