"""From a brief to a draft to what is to be said of it.

Reads: briefs (YAML, CSV, XLSX), drafts (Markdown), a client's training texts, its rules (TOML) and
Vale's styles (YAML). Writes nothing itself: drafts come back as records and as text or bytes. Knows
a `Completer`, anything that continues a chat; does not know the engine behind it, HTTP, workspaces
or where keys are kept.

    read_briefs -> write_draft -> draft_as (Markdown, HTML, DOCX, JSON, WXR)
                       |              |
                     check  <---  read_draft

The rules are data, `rules.toml`; a `Check` is a family of them, and packages add theirs under the
entry points group `copydesk.checks`.
"""

from copydesk.content._brief_tables import read_briefs
from copydesk.content._briefs import make_brief, read_brief
from copydesk.content._check import Page, Standards, check, check_batch, rules_for
from copydesk.content._checks import BUILT_IN, Check, installed_checks
from copydesk.content._choose import Ranker
from copydesk.content._client_rules import ClientRules, parse_waivers, read_client_rules
from copydesk.content._drafts import DraftFile, draft_markdown, read_draft
from copydesk.content._formats import FORMATS, draft_as, draft_json_ld
from copydesk.content._language import language_name, language_of
from copydesk.content._originality import TrainingIndex, VerbatimRun
from copydesk.content._prompts import page_messages
from copydesk.content._rules import Rule, RuleBook, default_rules
from copydesk.content._shingles import ShingleIndex
from copydesk.content._subject import Subject
from copydesk.content._vale import ValeRule, ValeStyles, read_vale_styles
from copydesk.content._write import sampling_for, write_draft

__all__ = [
    "BUILT_IN",
    "FORMATS",
    "Check",
    "ClientRules",
    "DraftFile",
    "Page",
    "Ranker",
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
    "draft_as",
    "draft_json_ld",
    "draft_markdown",
    "installed_checks",
    "language_name",
    "language_of",
    "make_brief",
    "page_messages",
    "parse_waivers",
    "read_brief",
    "read_briefs",
    "read_client_rules",
    "read_draft",
    "read_vale_styles",
    "rules_for",
    "sampling_for",
    "write_draft",
]
