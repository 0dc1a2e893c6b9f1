"""Tokens to text as they come: no character is split, no part of a stop string slips out."""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one continuation. `push` returns what may be shown now."""

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._stream = DecodeStream(skip_special_tokens=True) if tokenizer.is_fast else None
        self._shown: list[str] = []
        self._held = ""
        self._decoded = 0
        """Characters of the whole text that were seen, shown or held."""
        self.stopped = False
        """A stop string came."""

    @property
    def text(self) -> str:
        """What was shown so far."""
        return "".join(self._shown)

    def push(self, token: int) -> str:
        """Take the next token; returns new text, often none."""
        self._tokens.append(token)
        fresh = self._next(token)
        return self._release(fresh) if fresh else ""

    def finish(self) -> str:
        """The rest: a character whose end never came, and what was held for a stop string."""
        rest = ""
        if not self.stopped:
            whole = self._tokenizer.decode(self._tokens, skip_special_tokens=True)
            rest = self._release(whole[self._decoded :])
            if not self.stopped and self._held:
                rest += self._held
                self._shown.append(self._held)
        self._held = ""
        return rest

    def _next(self, token: int) -> str:
        if self._stream is not None:
            fresh = self._stream.step(self._tokenizer.backend_tokenizer, token) or ""
        else:
            whole = self._tokenizer.decode(self._tokens, skip_special_tokens=True)
            fresh = "" if whole.endswith(_BROKEN) else whole[self._decoded :]
        self._decoded += len(fresh)
        return fresh

    def _release(self, fresh: str) -> str:
        if not self._stop:
            self._shown.append(fresh)
            return fresh
        text = self._held + fresh
        ends = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if ends:
            self.stopped = True
            self._held, text = "", text[: min(ends)]
        else:
            keep = max(_overlap(text, stop) for stop in self._stop)
            self._held = text[len(text) - keep :]
            text = text[: len(text) - keep]
        self._shown.append(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """How long a start of `stop` the text ends with."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
