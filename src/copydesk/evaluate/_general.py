"""General text: neutral passages and instructions, to see what tuning made a model forget.

Twelve explanations of everyday subjects and twelve short instructions with their right answers,
written for this project. Loss on them is compared before and after; it is not a benchmark of
knowledge.
"""

import hashlib
import json
from importlib import resources

from copydesk.records import Message


def general_chats() -> tuple[tuple[str, tuple[Message, ...], str], ...]:
    """(id, chat, answer) of every general text."""
    return tuple(
        (item["id"], (Message(role="user", content=item["prompt"]),), item["text"])
        for item in map(json.loads, _raw().decode().splitlines())
    )


def general_digest() -> str:
    """SHA-256 of the general texts."""
    return hashlib.sha256(_raw()).hexdigest()


def _raw() -> bytes:
    return resources.files("copydesk.evaluate").joinpath("general.jsonl").read_bytes()
