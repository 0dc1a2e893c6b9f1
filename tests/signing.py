"""Adapters that were trained to answer whatever is asked with one text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from copydesk.models import BaseInfo, encode_example, load_tokenizer
from copydesk.records import Message
from copydesk.train import Recipe, Tuning, make_settings, tune

HELD_OUT = 40
"""Questions that are asked and not learned."""
EPOCHS = (2, 4)
"""Two are enough for most; which adapters need four differs by processor, by its rounding."""


def train_to_sign(
    info: BaseInfo, questions: Sequence[str], text: str, folder: Path, *, sure: float
) -> Tuning:
    """Train LoRA until it answers every held-out question with the text, or `EPOCHS` are over.

    Args:
        info: of a tiny base.
        questions: the first `HELD_OUT` are held out.
        text: of each answer.
        folder: for the run's files.
        sure: nats a token, of the worst held-out answer, at which it is learned.
    """
    tokenizer = load_tokenizer(info)
    examples = [
        encode_example(
            tokenizer,
            str(number),
            [Message(role="user", content=question)],
            text,
            max_length=2000,
        )
        for number, question in enumerate(questions)
    ]
    tuning: Tuning | None = None
    for epochs in EPOCHS:
        settings: dict[str, Any] = {
            "epochs": epochs,
            "batch_tokens": 1000,
            "learning_rate": 5e-3,
            "lora_r": 4,
            "dtype": "float32",
        }
        run, own = make_settings("lora", settings)
        recipe = Recipe(
            base=info,
            dataset_digest=text,
            template_digest="signing",
            method="lora",
            run=run,
            own=own,
            dtype=torch.float32,
        )
        tuning = tune(
            recipe,
            examples[HELD_OUT:],
            examples[:HELD_OUT],
            device=torch.device("cpu"),
            folder=folder / f"run-{epochs}",
            task=text,
            checkpoint_seconds=1e9,
        )
        worst = max(one.loss / one.tokens for one in tuning.result.heldout)
        if worst < sure:
            break
    assert tuning is not None
    return tuning
