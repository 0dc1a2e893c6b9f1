"""Prompts to token ids, and single tokens to what they stand for."""

import copy
import re
import threading
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from copydesk.errors import InvalidInput
from copydesk.models import Base, encode_chat
from copydesk.records import Message

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class PromptReader:
    """Encodes prompts for any thread, with a tokenizer of its own.

    A fast tokenizer that encodes on one thread and decodes on another fails with "Already
    borrowed", so the engine's thread keeps the base's.
    """

    def __init__(self, base: Base) -> None:
        self._tokenizer: Any = copy.deepcopy(base.tokenizer)
        self._lock = threading.Lock()

    def encode(self, prompt: tuple[Message, ...] | str) -> list[int]:
        """A chat up to where the answer starts, or text as it is.

        Raises:
            InvalidInput: it is empty, or the base's template refuses it.
        """
        with self._lock:
            if isinstance(prompt, str):
                ids: list[int] = list(self._tokenizer(prompt)["input_ids"])
            else:
                ids = encode_chat(self._tokenizer, prompt)
        if not ids:
            raise InvalidInput("The prompt is empty", todo="Send at least one token.")
        return ids


class TokenNames:
    """What single tokens stand for, as text and as bytes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        by_bytes = "ByteLevel" in str(getattr(backend, "decoder", None))
        self._bytes: dict[str, int] = (
            {char: byte for byte, char in bytes_to_unicode().items()} if by_bytes else {}
        )

    def name(self, token: int) -> tuple[str, bytes]:
        """Text, with replacement characters where it is a part of one, and bytes."""
        piece: Any = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # rows of the head that the tokenizer does not use
            return "", b""
        if token in self._special:
            return piece, piece.encode()
        if self._bytes and all(char in self._bytes for char in piece):
            found = bytes(self._bytes[char] for char in piece)
        elif match := _BYTE.fullmatch(piece):
            found = bytes([int(match[1], 16)])
        else:
            found = piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
        return found.decode(errors="replace"), found
