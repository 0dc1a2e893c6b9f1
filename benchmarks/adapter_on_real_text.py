"""Does a client's adapter know its client? Real posts, the client's own and another's.

    python benchmarks/adapter_on_real_text.py [--client 18f] [--other rust] [--posts 96]

For each of the two: 96 posts to train on (cut to 400 tokens, one epoch, LoRA with default
settings) and the newest 24 held out, curated as `copydesk curate` does. Printed: held-out loss on
the client's pages of the untuned base, of the client's adapter and of the other's adapter, and the
differences with 95% intervals over pages (paired bootstrap). Both differences should lie clear
below zero.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from _case import BRANDS, emit, versions

from copydesk.corpus import CurateSettings, curate, material_example
from copydesk.evaluate import Interval, loss_difference, mean_loss, mean_loss_interval, score
from copydesk.models import (
    ATTENTION,
    BaseInfo,
    BaseStore,
    Encoded,
    ExampleLoss,
    Tuned,
    encode_examples,
    find_method,
    load_base,
    pick_device,
    template_digest,
)
from copydesk.records import Material
from copydesk.store import default_cache
from copydesk.train import Recipe, make_settings, tune

HELDOUT = 24
LENGTH = 400


def pages(brand: str, count: int, folder: Path) -> tuple[tuple[Material, ...], ...]:
    """The brand's newest posts that curate keeps: `count` to train on, the newest held out."""
    lines = (BRANDS / brand / "posts.jsonl").read_text(encoding="utf-8").splitlines()
    file = folder / f"{brand}.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    share = HELDOUT / len(lines)
    found = curate([file], client=brand, settings=CurateSettings(heldout_share=share))
    return found.train[-count:], found.heldout[-HELDOUT:]


def encode(tokenizer: Any, pages: tuple[Material, ...]) -> tuple[Encoded, ...]:
    examples = [material_example(page) for page in pages]
    return encode_examples(tokenizer, examples, max_length=LENGTH).examples


def measure(client: str, other: str, count: int, base: BaseInfo) -> dict[str, Any]:
    """Train both adapters; score them and the base on the client's held-out pages."""
    device = pick_device()
    method = find_method("lora")
    run, own = make_settings("lora", {"epochs": 1, "max_length": LENGTH})
    dtype = method.dtype("auto", device)
    loaded = load_base(base, device=device, dtype=dtype, attention=ATTENTION)
    untuned = Tuned(method="base", base=loaded, model=loaded.model, parameters={})
    scored: dict[str, tuple[ExampleLoss, ...]] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as aside:
        split = {name: pages(name, count, Path(aside)) for name in (client, other)}
        heldout = encode(loaded.tokenizer, split[client][1])
        scored["base"] = score(untuned, heldout)
        for name in (client, other):
            recipe = Recipe(
                base=base,
                dataset_digest=name,
                template_digest=template_digest(loaded.tokenizer),
                method="lora",
                run=run,
                own=own,
                dtype=dtype,
            )
            tuning = tune(
                recipe,
                encode(loaded.tokenizer, split[name][0]),
                heldout,
                device=device,
                folder=Path(aside) / name,
                task=name,
                listener=lambda p: print(f"{p.task} {p.done}/{p.total}", file=sys.stderr),
            )
            scored[name] = tuning.result.heldout
            seconds[name] = round(tuning.result.seconds, 1)
    own_gain = loss_difference(scored[client], scored["base"])
    against = loss_difference(scored[client], scored[other])
    return {
        "benchmark": "adapter-on-real-text",
        "versions": versions("copydesk", "torch", "transformers", "peft"),
        "client": client,
        "other": other,
        "train_posts": {name: len(split[name][0]) for name in split},
        "heldout_posts": len(heldout),
        "steps_seconds": seconds,
        "ours": {"heldout_loss": figure(mean_loss_interval(scored[client]))},
        "rival": {
            "base": figure(mean_loss_interval(scored["base"])),
            f"{other}_adapter": figure(mean_loss_interval(scored[other])),
        },
        "ratio": round(mean_loss(scored[client]) / mean_loss(scored["base"]), 4),
        "minus_base": figure(own_gain),
        "minus_other": figure(against),
    }


def figure(interval: Interval) -> list[float]:
    """[value, low, high]."""
    return [round(number, 4) for number in (interval.value, interval.low, interval.high)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--client", default="18f")
    parser.add_argument("--other", default="rust")
    parser.add_argument("--posts", type=int, default=96)
    options = parser.parse_args()
    if not BRANDS.is_dir():
        sys.exit("This benchmark needs the real brands' texts in ../shared/brands.")
    base = BaseStore(default_cache()).pull("smollm2-135m")
    emit(measure(options.client, options.other, options.posts, base))


if __name__ == "__main__":
    main()
