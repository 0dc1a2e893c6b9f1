"""Loss of examples under a model."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from copydesk.models import (
    Encoded,
    ExampleLoss,
    SegmentPrefix,
    Tuned,
    answer_losses,
    families_of,
    pack_families,
    prefix_states,
    rows_of,
    scoring_lanes,
    shared_length,
    shares_starts,
    split_by_tokens,
    two_at_once,
)


def score(
    model: Tuned,
    examples: Sequence[Encoded],
    *,
    batch_tokens: int = 1024,
    on_done: Callable[[int], None] | None = None,
) -> tuple[ExampleLoss, ...]:
    """Summed answer loss of each example, in order, without dropout.

    Where all examples start with the same long prompt, that start is run once; a shorter one, once
    for each batch.

    Args:
        model: what to score; left in the mode it was in.
        examples: encoded with the model's own tokenizer.
        batch_tokens: how many tokens to run at once; bounds memory, changes nothing else.
        on_done: called with how many examples are scored.
    """
    was_training = model.model.training
    model.model.eval()
    try:
        with torch.inference_mode():
            prefix = None
            if model.base.packed and (shared := shared_length(examples)):
                prefix = prefix_states(model, examples[0].ids[:shared])
                examples = [example.without_start(shared) for example in examples]
        return _scored(model, examples, prefix, batch_tokens, on_done or (lambda _: None))
    finally:
        if was_training:
            model.model.train()


def _scored(
    model: Tuned,
    examples: Sequence[Encoded],
    prefix: SegmentPrefix | None,
    batch_tokens: int,
    on_done: Callable[[int], None],
) -> tuple[ExampleLoss, ...]:
    lanes = scoring_lanes(model, batch_tokens)
    shared = prefix is None and shares_starts(model, training=False)
    runs = split_by_tokens(examples, lanes.tokens, shared=shared)

    def losses_of(run: list[Encoded]) -> list[ExampleLoss]:
        with torch.inference_mode():
            packed = pack_families(families_of(run, shared)).to(model.base.device)
            return answer_losses(model, packed, prefix=prefix)

    found: dict[int, list[ExampleLoss]] = {}
    done = 0
    pairs = lanes.pairs([rows_of(families_of(run, shared)) for run in runs])
    alone = [number for number in range(len(runs)) if number not in set(pairs)]
    jobs = [partial(losses_of, runs[number]) for number in pairs]
    results = two_at_once(jobs, [partial(losses_of, runs[number]) for number in alone])
    for number, losses in zip([*pairs, *alone], results, strict=True):
        found[number] = losses
        done += len(losses)
        on_done(done)
    return tuple(loss for number in range(len(runs)) for loss in found[number])
