"""Continue many prompts at once with one model, to measure what it says."""

from collections.abc import Sequence
from typing import Any

import torch

from copydesk.models import Tuned, encode_chat
from copydesk.records import Message, Sampling


class BatchContinuer:
    """A base, alone or with an adapter, that continues prompts in padded batches.

    It is a `Continuer` and a `Speaker`. Greedy continuations are those of one prompt at a time, but
    for rounding; drawn ones follow from the seed and from which prompts share a batch.
    """

    def __init__(
        self,
        tuned: Tuned,
        *,
        rows: int = 16,
        sampling: Sampling = Sampling(temperature=0, repetition_penalty=1.0),  # noqa: B008 - frozen
    ) -> None:
        """Take a model loaded for generation.

        Args:
            tuned: from `load_adapter`, or `untuned`; its base loaded without packed attention.
            rows: prompts of a batch.
            sampling: how tokens are drawn, and how many at most `answer` draws.
        """
        self._tuned = tuned
        self._rows = rows
        self._sampling = sampling

    @property
    def tokenizer(self) -> Any:
        """The base's."""
        return self._tuned.base.tokenizer

    def continue_ids(
        self, prefixes: Sequence[Sequence[int]], tokens: int
    ) -> tuple[tuple[int, ...], ...]:
        """At most `tokens` ids after each prefix, in order, up to the end of sequence.

        Prompts of similar length share a batch.
        """
        order = sorted(range(len(prefixes)), key=lambda at: len(prefixes[at]))
        found: dict[int, tuple[int, ...]] = {}
        for start in range(0, len(order), self._rows):
            batch = order[start : start + self._rows]
            given = self._batch([prefixes[at] for at in batch], tokens)
            found.update(zip(batch, given, strict=True))
        return tuple(found[at] for at in range(len(prefixes)))

    def answer(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """The answer to each prompt as a user's one turn."""
        return self.answer_chats([(Message(role="user", content=prompt),) for prompt in prompts])

    def answer_chats(self, chats: Sequence[Sequence[Message]]) -> tuple[str, ...]:
        """The answer to each chat, at most `max_new_tokens` of it."""
        tokenizer = self.tokenizer
        prefixes = [encode_chat(tokenizer, chat) for chat in chats]
        given = self.continue_ids(prefixes, self._sampling.max_new_tokens)
        return tuple(tokenizer.decode(ids, skip_special_tokens=True) for ids in given)

    def _batch(self, prefixes: Sequence[Sequence[int]], tokens: int) -> list[tuple[int, ...]]:
        base, sampling = self._tuned.base, self._sampling
        end = int(base.tokenizer.eos_token_id)
        width = max(map(len, prefixes))
        # Padded on the left: every row goes on where the batch ends.
        ids = torch.full((len(prefixes), width), end)
        mask = torch.zeros_like(ids)
        for row, prefix in enumerate(prefixes):
            ids[row, width - len(prefix) :] = torch.tensor(prefix)
            mask[row, width - len(prefix) :] = 1
        drawn = sampling.temperature > 0
        options: dict[str, Any] = {}
        if drawn:
            options = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        device = base.device
        with (
            torch.inference_mode(),
            torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []),
        ):
            torch.manual_seed(sampling.seed)
            output = self._tuned.generate(
                ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=tokens,
                do_sample=drawn,
                repetition_penalty=sampling.repetition_penalty,
                eos_token_id=end,
                pad_token_id=end,
                **options,
            )
        return [_until(row, end) for row in output[:, width:].tolist()]


def _until(ids: list[int], end: int) -> tuple[int, ...]:
    return tuple(ids[: ids.index(end)] if end in ids else ids)
