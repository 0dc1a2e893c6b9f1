"""From a brief to a draft to what is to be said of it.

Reads: briefs (YAML), drafts (Markdown) and a client's training texts. Writes nothing itself:
drafts come back as records and as Markdown text. Knows a `Completer`, anything that continues a
chat; does not know the engine behind it, HTTP, workspaces or keys.

    read_brief -> write_draft -> draft_markdown
                       |              |
                     check  <---  read_draft
"""

from copydesk.content._briefs import make_brief, read_brief
from copydesk.content._check import check
from copydesk.content._drafts import DraftFile, draft_markdown, read_draft
from copydesk.content._limits import CheckLimits
from copydesk.content._originality import TrainingIndex, VerbatimRun
from copydesk.content._rank import RankedCandidate, rank_candidates
from copydesk.content._write import sampling_for, write_draft

__all__ = [
    "CheckLimits",
    "DraftFile",
    "RankedCandidate",
    "TrainingIndex",
    "VerbatimRun",
    "check",
    "draft_markdown",
    "make_brief",
    "rank_candidates",
    "read_brief",
    "read_draft",
    "sampling_for",
    "write_draft",
]
