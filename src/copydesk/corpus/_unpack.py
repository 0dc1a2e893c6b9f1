"""Compressed bytes in; at most so many bytes out. A small file can unpack to gigabytes."""

import zlib
from typing import Final

from copydesk.corpus._fields import UnfitError

GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP: Final = 31


class Unpacker:
    """Takes chunks as they come, packed by gzip or plain, and holds no more than it may."""

    def __init__(self, *, packed: bool, max_bytes: int) -> None:
        self._inflate = zlib.decompressobj(_GZIP) if packed else None
        self._max_bytes = max_bytes
        self._content = bytearray()

    def add(self, chunk: bytes) -> None:
        """Take the next chunk.

        Raises:
            UnfitError: it is not gzip, or there are more bytes than allowed.
        """
        if self._inflate is None:
            self._content += chunk
            self._check("too-large", "It has")
            return
        try:
            while chunk:
                room = self._max_bytes + 1 - len(self._content)
                self._content += self._inflate.decompress(chunk, room)
                self._check("gzip-bomb", "It unpacks to")
                chunk = self._inflate.unconsumed_tail or self._next_member()
        except zlib.error as error:
            raise UnfitError("bad-gzip", f"It is not what gzip packs: {error}.") from None

    def _next_member(self) -> bytes:
        """A gzip file may be several, end to end (RFC 1952, 2.2); anything else is padding."""
        assert self._inflate is not None
        rest = self._inflate.unused_data
        if not rest.startswith(GZIP_MAGIC):
            return b""
        self._inflate = zlib.decompressobj(_GZIP)
        return rest

    def _check(self, rule: str, verb: str) -> None:
        if len(self._content) > self._max_bytes:
            raise UnfitError(rule, f"{verb} more than {self._max_bytes:,} bytes.")

    def content(self) -> bytes:
        """All there is.

        Raises:
            UnfitError: the packed bytes end early.
        """
        if self._inflate is not None and not self._inflate.eof and self._content:
            raise UnfitError("bad-gzip", "It is cut off: the packed bytes end early.")
        return bytes(self._content)


def gunzip(content: bytes, max_bytes: int) -> bytes:
    """Unpack a whole file.

    Raises:
        UnfitError: it is not gzip, is cut off, or unpacks to more than `max_bytes`.
    """
    unpacker = Unpacker(packed=True, max_bytes=max_bytes)
    unpacker.add(content)
    return unpacker.content()
