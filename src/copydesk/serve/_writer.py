"""One chat at a time, streamed."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from copydesk.errors import InvalidInput
from copydesk.models import Tuned, encode_chat
from copydesk.records import Completion, Message, Sampling


class Writer:
    """Continues chats with a base and the adapter that is on it, if any."""

    def __init__(self, tuned: Tuned, *, name: str) -> None:
        """Take a model loaded for generation.

        Args:
            tuned: from `load_adapter`, or `untuned`; its base loaded without packed attention.
            name: what completions are signed with: `client@n` or the base's name.
        """
        self._tuned = tuned
        self._base = tuned.base
        self._name = name

    @property
    def name(self) -> str:
        """`client@n` or the base's name."""
        return self._name

    def complete(
        self,
        messages: tuple[Message, ...],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Continue the chat until the end of turn or `max_new_tokens`.

        The same chat, sampling and model give the same text; the global random stream is untouched.

        Raises:
            InvalidInput: the chat leaves no room for an answer in the base's context window.
        """
        tokenizer = self._base.tokenizer
        prompt = encode_chat(tokenizer, messages)
        stream = _TextStream(tokenizer, on_text) if on_text else None
        drawn = sampling.temperature > 0
        device = self._base.device
        with (
            torch.inference_mode(),
            torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []),
        ):
            torch.manual_seed(sampling.seed)
            output = self._tuned.generate(
                torch.tensor([prompt], device=device),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long, device=device),
                max_new_tokens=min(sampling.max_new_tokens, self._room(prompt)),
                do_sample=drawn,
                temperature=sampling.temperature if drawn else None,
                top_p=sampling.top_p if drawn else None,
                top_k=0 if drawn else None,
                repetition_penalty=sampling.repetition_penalty,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id
                if tokenizer.pad_token_id is not None
                else tokenizer.eos_token_id,
                streamer=stream,
            )
        new: list[int] = output[0, len(prompt) :].tolist()
        ended = bool(new) and new[-1] == tokenizer.eos_token_id
        return Completion(
            text=tokenizer.decode(new, skip_special_tokens=True),
            tokens=len(new),
            finish_reason="stop" if ended else "length",
        )

    def _room(self, prompt: Sequence[int]) -> int:
        """Tokens that the context window has left after the prompt."""
        config: Any = self._base.model.config.get_text_config()
        window = getattr(config, "max_position_embeddings", None)
        if window is None:  # ALiBi has no last position
            return sys.maxsize
        window = int(window) - self._tuned.virtual_tokens
        room = window - len(prompt)
        if room < 1:
            raise InvalidInput(
                f"The prompt has {len(prompt)} tokens; {self._name} reads at most {window}",
                todo="Shorten the brief.",
            )
        return room


class _TextStream(BaseStreamer):
    """Turns tokens into text as they come, never splitting a character."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._on_text = on_text
        self._tokens: list[int] = []
        self._shown = 0
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:  # transformers sends the prompt first
            self._prompt_seen = True
            return
        self._tokens.extend(_flat(value))
        text = self._text()
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            self._show(text)

    def end(self) -> None:
        self._show(self._text())

    def _text(self) -> str:
        return self._tokenizer.decode(self._tokens, skip_special_tokens=True)

    def _show(self, text: str) -> None:
        if len(text) > self._shown:
            self._on_text(text[self._shown :])
            self._shown = len(text)


def _flat(value: torch.Tensor) -> Sequence[int]:
    return value.reshape(-1).tolist()
