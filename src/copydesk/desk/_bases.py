"""Bases, for callers without a workspace. Importing this does not import torch; calling it does."""

from typing import TYPE_CHECKING

from copydesk.records import Listener, ignore_progress

if TYPE_CHECKING:
    from copydesk.models import BaseInfo


def pull_base(ref: str, *, listener: Listener = ignore_progress) -> "BaseInfo":
    """Make a base available in the user's cache: the default's name, a hub id or a folder.

    Raises:
        UnknownName, InvalidInput, Unreachable, Damaged: see `BaseStore.pull`.
    """
    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    return BaseStore(default_cache()).pull(ref, listener)


def list_bases() -> "tuple[BaseInfo, ...]":
    """The bases in the user's cache, by name."""
    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    return BaseStore(default_cache()).list()
