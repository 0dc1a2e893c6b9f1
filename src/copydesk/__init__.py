"""Copydesk: one base language model, every client's voice.

    import copydesk

    workspace = copydesk.init("agency")
    workspace.add_client("acme", style_guide="acme.toml")
    workspace.curate("acme", ["posts.jsonl"])
    workspace.train(["acme"])

Every command of the command line is a method of `Workspace` and does nothing else.
"""

from copydesk.desk import Workspace, init, read_recipe
from copydesk.desk import open_workspace as open  # noqa: A004 - read as copydesk.open
from copydesk.records import Brief, Comparison, Draft, Finding, Sampling, StyleGuide

__all__ = [
    "Brief",
    "Comparison",
    "Draft",
    "Finding",
    "Sampling",
    "StyleGuide",
    "Workspace",
    "init",
    "open",
    "read_recipe",
]
