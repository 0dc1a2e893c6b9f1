"""Loss of examples under a model."""

from collections.abc import Callable, Sequence

import torch

from copydesk.models import (
    Encoded,
    ExampleLoss,
    Tuned,
    answer_losses,
    pack,
    prefix_states,
    shared_length,
    split_by_tokens,
)


def score(
    model: Tuned,
    examples: Sequence[Encoded],
    *,
    batch_tokens: int = 1024,
    on_done: Callable[[int], None] | None = None,
) -> tuple[ExampleLoss, ...]:
    """Summed answer loss of each example, in order, without dropout.

    Where all examples start with the same long prompt, that start is run once.

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
            prefix = None
            if model.base.packed and (shared := shared_length(examples)):
                prefix = prefix_states(model, examples[0].ids[:shared])
                examples = [example.without_start(shared) for example in examples]
            for run in split_by_tokens(examples, batch_tokens):
                packed = pack(run).to(model.base.device)
                losses.extend(answer_losses(model, packed, prefix=prefix))
                if on_done:
                    on_done(len(losses))
    finally:
        model.model.train(was_training)
    return tuple(losses)
