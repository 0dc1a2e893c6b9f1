"""Loss of examples under a model."""

from collections.abc import Callable, Sequence

import torch

from copydesk.models import Encoded, ExampleLoss, Tuned, answer_losses, pack, split_by_tokens


def score(
    model: Tuned,
    examples: Sequence[Encoded],
    *,
    batch_tokens: int = 1024,
    on_done: Callable[[int], None] | None = None,
) -> tuple[ExampleLoss, ...]:
    """Summed answer loss of each example, in order, without dropout.

    Args:
        model: what to score; left in the mode it was in.
        examples: encoded with the model's own tokenizer.
        batch_tokens: how many tokens to run at once; bounds memory, changes nothing else.
        on_done: called with how many examples are scored.
    """
    was_training = model.model.training
    model.model.eval()
    losses: list[ExampleLoss] = []
    try:
        with torch.inference_mode():
            for run in split_by_tokens(examples, batch_tokens):
                losses.extend(answer_losses(model.model, pack(run).to(model.base.device)))
                if on_done:
                    on_done(len(losses))
    finally:
        model.model.train(was_training)
    return tuple(losses)
