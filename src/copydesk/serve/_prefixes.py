"""Keys and values of prompts' beginnings, kept for the next prompt that begins alike.

A block of tokens is known by a hash over everything that its keys and values follow from: the
base's digest, how its weights are held, the adapter's digest, and all tokens up to its end. Names
are not in it: a client whose adapter is replaced finds nothing of the old one.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from copydesk.serve._runner import KeyValues

BLOCK = 32
"""Tokens that are kept or found together."""


class PrefixCache:
    """Blocks of keys and values, at most `limit` bytes; the least recently used goes first."""

    def __init__(self, limit: int, *, salt: str) -> None:
        """Take the limit in bytes, and what all keys depend on: base and number format."""
        self._limit = limit
        self._salt = salt.encode()
        self._blocks: OrderedDict[bytes, KeyValues] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        """Tokens that were found."""
        self.misses = 0
        """Tokens that were asked for and not found."""

    def find(self, adapter: str, ids: Sequence[int]) -> list[KeyValues]:
        """The blocks that `ids` begins with; never all of it, as its last token must be run."""
        found: list[KeyValues] = []
        keys = list(self._keys(adapter, ids[: len(ids) - 1])) if self._limit else []
        for key in keys:
            block = self._blocks.get(key)
            if block is None:
                break
            found.append(block)
        for key in reversed(keys[: len(found)]):  # so that a beginning outlives what follows it
            self._blocks.move_to_end(key)
        self.hits += len(found) * BLOCK
        self.misses += len(ids) - len(found) * BLOCK
        return found

    def missing(self, adapter: str, ids: Sequence[int]) -> list[tuple[bytes, int]]:
        """Key and first token of each whole block of `ids` that is not kept."""
        if not self._limit:
            return []
        keys = self._keys(adapter, ids)
        return [(key, at * BLOCK) for at, key in enumerate(keys) if key not in self._blocks]

    def put(self, key: bytes, block: KeyValues) -> None:
        """Keep a block, and let go of others until the limit holds."""
        if block.bytes > self._limit or key in self._blocks:
            return
        self._blocks[key] = block
        self.bytes += block.bytes
        while self.bytes > self._limit:
            _, dropped = self._blocks.popitem(last=False)
            self.bytes -= dropped.bytes

    def clear(self) -> None:
        """Let go of everything."""
        self._blocks.clear()
        self.bytes = 0

    def _keys(self, adapter: str, ids: Sequence[int]) -> Iterator[bytes]:
        key = hashlib.sha256(self._salt + b"\0" + adapter.encode()).digest()
        for start in range(0, len(ids) - BLOCK + 1, BLOCK):
            block = array("q", ids[start : start + BLOCK]).tobytes()
            key = hashlib.sha256(key + block).digest()
            yield key
