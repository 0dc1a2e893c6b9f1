"""Text that must follow a JSON schema: which tokens may come next (llguidance)."""

import json
import threading
from collections.abc import Mapping
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from copydesk.errors import InvalidInput

_LARGEST = 65_536
"""Characters of a schema, as JSON."""
_OPTIONS: Any = {"whitespace_flexible": False}
"""A small model that may break lines between tokens goes on doing so to the end."""


class Grammar:
    """What may come next in one text."""

    def __init__(self, matcher: LLMatcher, width: int) -> None:
        self._matcher = matcher
        self._mask = torch.zeros(1, (width + 31) // 32, dtype=torch.int32)
        self._bits = torch.arange(32, dtype=torch.int32)

    @property
    def complete(self) -> bool:
        """The text is whole: nothing may follow."""
        return bool(self._matcher.is_stopped())

    def restrict(self, scores_V: torch.Tensor) -> None:
        """Leave only what may come next.

        Raises:
            InvalidInput: the schema leads to more than can be followed.
        """
        try:
            self._fill()
        except (ValueError, RuntimeError) as error:
            raise InvalidInput(
                f"The JSON schema cannot be followed further: {str(error).splitlines()[0]}",
                todo="Make it simpler.",
            ) from error
        allowed = ((self._mask[0, :, None] >> self._bits) & 1).flatten()[: len(scores_V)].bool()
        scores_V[: len(allowed)].masked_fill_(~allowed.to(scores_V.device), -torch.inf)
        scores_V[len(allowed) :] = -torch.inf

    def _fill(self) -> None:
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())
        self._matcher.unsafe_compute_mask_ptr(self._mask.data_ptr(), self._mask.nbytes)

    def take(self, token: int) -> None:
        """Go on behind a token."""
        self._matcher.consume_token(token)


class Grammars:
    """Makes grammars for a base's tokenizer, which is read when the first is asked for."""

    def __init__(self, tokenizer: Any, width: int) -> None:
        self._tokenizer = tokenizer
        self._width = width
        self._read: LLTokenizer | None = None
        self._lock = threading.Lock()

    def check(self, schema: Mapping[str, Any] | None) -> None:
        """Look at a schema before its request waits; any thread.

        Raises:
            InvalidInput: it is too large, not a schema, or uses what cannot be followed.
        """
        if schema is not None:
            self._compile(schema)

    def grammar(self, schema: Mapping[str, Any] | None) -> Grammar | None:
        """A fresh grammar, or None where any text will do."""
        if schema is None:
            return None
        return Grammar(LLMatcher(self._ready(), self._compile(schema)), self._width)

    def _compile(self, schema: Mapping[str, Any]) -> str:
        text = json.dumps(schema)
        if len(text) > _LARGEST:
            raise InvalidInput(f"The JSON schema has {len(text)} characters, at most {_LARGEST}")
        try:
            grammar: str = LLMatcher.grammar_from_json_schema(text, overrides=_OPTIONS)
            problem = LLMatcher.validate_grammar(grammar, self._ready())
        except (ValueError, RuntimeError) as error:
            problem = str(error)
        else:
            if not problem:
                return grammar
        raise InvalidInput(
            f"The JSON schema cannot be followed: {problem.strip().splitlines()[0]}",
            todo="Leave out what it names.",
        )

    def _ready(self) -> LLTokenizer:
        with self._lock:
            if self._read is None:
                if not self._tokenizer.is_fast:
                    raise InvalidInput("JSON output needs a base with a fast tokenizer")
                self._read = from_tokenizer(self._tokenizer, n_vocab=self._width)
            return self._read
