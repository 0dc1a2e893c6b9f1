"""The workspace and its verbs: what each command does, as Python.

Reads and writes: the workspace's folder, through the rooms below. Does not know: terminals, HTTP,
how anything is shown. Importing it does not import torch; verbs that need it do so when called.
"""

from copydesk.desk._bases import list_bases, pull_base
from copydesk.desk._config import Config
from copydesk.desk._recipes import read_recipe
from copydesk.desk._results import (
    Checked,
    ClientInfo,
    Curation,
    FailedClient,
    TrainedVersion,
    Training,
    Written,
)
from copydesk.desk._sources import ImportedSearches, web_settings
from copydesk.desk._workspace import Workspace, init, open_workspace

__all__ = [
    "Checked",
    "ClientInfo",
    "Config",
    "Curation",
    "FailedClient",
    "ImportedSearches",
    "TrainedVersion",
    "Training",
    "Workspace",
    "Written",
    "init",
    "list_bases",
    "open_workspace",
    "pull_base",
    "read_recipe",
    "web_settings",
]
