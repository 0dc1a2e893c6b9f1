"""Versions: which tuned models a client has, and which one speaks for it.

A version is `client@n`. Without a number the newest is meant. Reads and writes: the catalogue and
the artifacts' manifests. Does not know: how a score is computed, how a model is loaded.
"""

from copydesk.registry._versions import Version, add_version, find_version, versions

__all__ = ["Version", "add_version", "find_version", "versions"]
