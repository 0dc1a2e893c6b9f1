"""The workspace and its verbs: what each command does, as Python.

Reads and writes: the workspace's folder, through the rooms below. Does not know: terminals, HTTP,
how anything is shown. Importing it does not import torch; verbs that need it do so when called.
"""

from copydesk.desk._answer_checks import AnswerChecks
from copydesk.desk._bases import list_bases, pull_base
from copydesk.desk._config import Config
from copydesk.desk._diffing import PagesChanged, Pair, SampleDraft, VersionDiff
from copydesk.desk._engine_writer import EngineWriter
from copydesk.desk._erasing import Receipt
from copydesk.desk._keys import IssuedKey, Key, ServerKeys
from copydesk.desk._planning import DEFAULT_HARDWARE, plan_run, published_claims
from copydesk.desk._promoting import ClientHistory, VersionState
from copydesk.desk._recipes import read_recipe
from copydesk.desk._results import (
    Checked,
    ClientInfo,
    Curation,
    Evaluated,
    FailedClient,
    Foundation,
    Gate,
    TrainedVersion,
    Training,
    Written,
)
from copydesk.desk._roster import Roster, ServedModel
from copydesk.desk._serving import Serving, VllmWish
from copydesk.desk._sources import ImportedSearches, web_settings
from copydesk.desk._supervisor import Supervised
from copydesk.desk._wishes import Wishes
from copydesk.desk._withdrawing import Mark, Withdrawn
from copydesk.desk._workspace import Workspace, find_workspace, init, open_workspace
from copydesk.desk.doctor import Examination, Trouble, examine

__all__ = [
    "DEFAULT_HARDWARE",
    "AnswerChecks",
    "Checked",
    "ClientHistory",
    "ClientInfo",
    "Config",
    "Curation",
    "EngineWriter",
    "Evaluated",
    "Examination",
    "FailedClient",
    "Foundation",
    "Gate",
    "ImportedSearches",
    "IssuedKey",
    "Key",
    "Mark",
    "PagesChanged",
    "Pair",
    "Receipt",
    "Roster",
    "SampleDraft",
    "ServedModel",
    "ServerKeys",
    "Serving",
    "Supervised",
    "TrainedVersion",
    "Training",
    "Trouble",
    "VersionDiff",
    "VersionState",
    "VllmWish",
    "Wishes",
    "Withdrawn",
    "Workspace",
    "Written",
    "examine",
    "find_workspace",
    "init",
    "list_bases",
    "open_workspace",
    "plan_run",
    "published_claims",
    "pull_base",
    "read_recipe",
    "web_settings",
]
