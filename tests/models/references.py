"""A tiny base for packed batches, examples, and the loss as plain transformers computes it."""

from pathlib import Path

import torch

from copydesk.models import (
    ATTENTION,
    Base,
    BaseStore,
    Encoded,
    Quantisation,
    encode_example,
    load_base,
)
from copydesk.records import Message

CPU = torch.device("cpu")


def packed_base(folder: Path, quantisation: Quantisation | None = None) -> Base:
    info = BaseStore(folder.parent / "cache").find(str(folder))
    return load_base(
        info, device=CPU, dtype=torch.float32, attention=ATTENTION, quantisation=quantisation
    )


def some_examples(base: Base, count: int = 5) -> list[Encoded]:
    return [
        encode_example(
            base.tokenizer,
            str(number),
            [Message(role="user", content="Write of rain. " * number)],
            "It rained, é, all day. " * (number + 1),
            max_length=400,
        )
        for number in range(count)
    ]


def reference_loss(model: torch.nn.Module, example: Encoded) -> torch.Tensor:
    """Summed answer loss by transformers' own forward: one example, full logits."""
    ids = torch.tensor([example.ids])
    labels = ids.clone()
    labels[:, : example.prompt_length] = -100
    return model(input_ids=ids, labels=labels).loss * example.answer_length
