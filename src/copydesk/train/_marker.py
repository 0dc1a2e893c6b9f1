"""A note that a run is under way, by which the next one learns that it was killed.

Nothing can be done at the moment when the system kills a process for want of memory. What is left
is the note; where the kernel's count of such kills has risen since, the next run says so.
"""

import contextlib
import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from copydesk.errors import Damaged
from copydesk.store import json_bytes, read_json, replace_bytes

MARKER = "running.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_COUNTERS = Path("/proc/vmstat")
_log = logging.getLogger("copydesk.train")


@contextlib.contextmanager
def run_marker(folder: Path) -> Generator[str | None]:
    """Leave a note in `folder` for the length of the block.

    Yields:
        What ended the run before this one, in a sentence, when that was a hard kill; it is logged
        as a warning too.
    """
    path = folder / MARKER
    told = _what_happened(path)
    if told:
        _log.warning("%s", told)
    note = {"process": os.getpid(), "boot": _text(_BOOT), "kills": _kills()}
    replace_bytes(path, json_bytes(note))
    try:
        yield told
    finally:
        path.unlink(missing_ok=True)


def _what_happened(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        note: Any = read_json(path)
    except Damaged:
        note = {}
    if note.get("boot") != _text(_BOOT):
        return "The run before this one ended with the machine; it goes on from its checkpoint."
    if _kills() > note.get("kills", 0):
        return (
            "The run before this one was killed, and since then the system has killed a process "
            "for want of memory. If it ends again, lower max_length or use a smaller base."
        )
    return "The run before this one was killed; it goes on from its checkpoint."


def _kills() -> int:
    """Processes that the kernel has killed for want of memory since it started; 0 if unknown."""
    for line in _text(_COUNTERS).splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
