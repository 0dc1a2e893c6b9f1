"""How a tuned model answers: does it still follow instructions, and how fast is it?"""

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from copydesk.evaluate import instructions_followed
from copydesk.models import (
    BaseInfo,
    Tuned,
    encode_chat,
    find_method,
    free_memory,
    load_adapter,
    load_base,
    merge,
    merge_quantised,
    untuned,
)
from copydesk.records import Message
from copydesk.study._cells import Spoken
from copydesk.train import Recipe

NEW_TOKENS = 32
REPEATS = 3
_PROMPT = "Write a short note about a walk along a river on a cold morning."


def speak_as_base(recipe: Recipe, device: torch.device) -> Spoken:
    """The untuned base, probed and timed, in the recipe's number format."""
    tuned = untuned(load_base(recipe.base, device=device, dtype=recipe.dtype))
    return Spoken(
        followed=instructions_followed(tuned),
        tokens_per_second=generation_rate(tuned),
        merged_tokens_per_second=None,
    )


def speak(recipe: Recipe, folder: Path, device: torch.device) -> Spoken:
    """What a run left in `folder`, loaded as it would be to write, probed and timed.

    Full fine-tuning leaves a base, which has nothing to fold: both rates are one.
    """
    free_memory()
    method = find_method(recipe.method)
    if method.leaves == "base":
        info = BaseInfo(name=recipe.method, path=folder, digest=recipe.digest, bytes=0)
        tuned = untuned(load_base(info, device=device, dtype=recipe.dtype))
        followed, rate = instructions_followed(tuned), generation_rate(tuned)
        return Spoken(followed=followed, tokens_per_second=rate, merged_tokens_per_second=rate)
    tuned = _with_adapter(recipe, folder, device)
    followed, rate = instructions_followed(tuned), generation_rate(tuned)
    del tuned
    merged = generation_rate(_folded(recipe, folder, device)) if method.merges else None
    return Spoken(followed=followed, tokens_per_second=rate, merged_tokens_per_second=merged)


def _with_adapter(recipe: Recipe, folder: Path, device: torch.device) -> Tuned:
    base = load_base(
        recipe.base,
        device=device,
        dtype=recipe.dtype,
        quantisation=find_method(recipe.method).quantisation(recipe.own),
    )
    return load_adapter(base, folder, bound_to=recipe.base.digest)


def _folded(recipe: Recipe, folder: Path, device: torch.device) -> Tuned:
    """The adapter merged into its base, in the number format that the base is served in."""
    free_memory()
    quantisation = find_method(recipe.method).quantisation(recipe.own)
    if quantisation is None:
        tuned = _with_adapter(recipe, folder, device)
        tuned.base.model = merge(tuned)
        return untuned(tuned.base)
    base = merge_quantised(
        recipe.base,
        folder,
        bound_to=recipe.base.digest,
        quantisation=quantisation,
        dtype=recipe.dtype,
        into="dequantised",
        device=device,
    )
    model: Any = base.model
    model.to(recipe.dtype)
    return untuned(base)


def generation_rate(tuned: Tuned) -> float:
    """New tokens a second of one request: greedy, of set length, the median of a few.

    The first, which warms caches up, is not counted.
    """
    tokenizer = tuned.base.tokenizer
    prompt = encode_chat(tokenizer, [Message(role="user", content=_PROMPT)])
    ids_BT = torch.tensor([prompt], device=tuned.base.device)
    seconds: list[float] = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        with torch.inference_mode():
            tuned.generate(
                ids_BT,
                attention_mask=torch.ones_like(ids_BT),
                min_new_tokens=NEW_TOKENS,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=tokenizer.eos_token_id,
            )
        if tuned.base.device.type == "cuda":
            torch.cuda.synchronize(tuned.base.device)
        seconds.append(time.perf_counter() - started)
    return NEW_TOKENS / statistics.median(seconds[1:])
