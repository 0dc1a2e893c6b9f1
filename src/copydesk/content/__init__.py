"""From a brief to a draft to what is to be said of it.

Reads: briefs (YAML), drafts (Markdown) and a client's training texts. Writes nothing itself:
drafts come back as records and as Markdown text. Knows a `Completer`, anything that continues a
chat; does not know the engine behind it, HTTP, workspaces or keys.

    read_brief -> write_draft -> draft_markdown
                       |              |
                     check  <---  read_draft
"""

from copydesk.content._briefs import make_brief, read_brief
from copydesk.content._check import Page, Standards, check, check_batch, rules_for
from copydesk.content._checks import BUILT_IN, Check, installed_checks
from copydesk.content._client_rules import ClientRules, parse_waivers, read_client_rules
from copydesk.content._drafts import DraftFile, draft_markdown, read_draft
from copydesk.content._originality import TrainingIndex, VerbatimRun
from copydesk.content._rules import Rule, RuleBook, default_rules
from copydesk.content._shingles import ShingleIndex
from copydesk.content._subject import Subject
from copydesk.content._vale import ValeRule, ValeStyles, read_vale_styles
from copydesk.content._write import sampling_for, write_draft

__all__ = [
    "BUILT_IN",
    "Check",
    "ClientRules",
    "DraftFile",
    "Page",
    "Rule",
    "RuleBook",
    "ShingleIndex",
    "Standards",
    "Subject",
    "TrainingIndex",
    "ValeRule",
    "ValeStyles",
    "VerbatimRun",
    "check",
    "check_batch",
    "default_rules",
    "draft_markdown",
    "installed_checks",
    "make_brief",
    "parse_waivers",
    "read_brief",
    "read_client_rules",
    "read_draft",
    "read_vale_styles",
    "rules_for",
    "sampling_for",
    "write_draft",
]
