"""Whether cost grows with the tokens: training rate and peak memory over data sizes and lengths.

    python benchmarks/linear_cost.py [--method lora] [--base smollm2-135m | tiny]

Two series, each point in a fresh process, after one step to warm up: 1k, 10k and 100k tokens of
examples of 512, and lengths of 128, 512, 2,048 and 8,192 at 16,384 tokens in all. Examples are
random tokens, an eighth of them prompt. LoRA has r=8.

Attention alone is quadratic in an example's length L. Its share is taken out of the lengths' rates:

    seconds a token, linear = seconds a token - layers x a(L) / L

a(L) is the time of one layer's attention over L tokens as the loop computes it, forward and
backward, measured in the same process, best of three: on half of the threads, and halved, where two
batches of such examples run side by side. `largest_deviation` is the greatest |rate / median rate -
1|, over the data sizes by plain rates and over the lengths by linear ones; the aim is 0.15.
`memory_growth` is the largest peak of the data sizes over the smallest. `ours` holds the points;
there is no rival:
`rival` and `ratio` are the first point's and the last point's over it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _case import emit, run_child, versions

SIZES, SIZE_LENGTH = (1_024, 10_240, 102_400), 512
LENGTHS, LENGTH_TOKENS = (128, 512, 2_048, 8_192), 16_384
STEP_TOKENS = 8_192
"""Of the lengths' series: the longest example, so that all points step equally often."""


def base_info(name: str) -> Any:
    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    store = BaseStore(default_cache())
    return store.find(name) if Path(name).is_dir() else store.pull(name)


def write_tiny(folder: Path) -> None:
    """A random two-layer base with the real one's tokenizer, to try the benchmark out."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    config = LlamaConfig(
        vocab_size=1_000,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max(LENGTHS),
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base_info("smollm2-135m").path).save_pretrained(folder)


def attention_seconds(config: Any, length: int, dtype: torch.dtype, lanes: Any) -> float:
    """One layer's attention over one example, forward and backward; best of three."""
    from copydesk.models._causal import causal_attention

    threads = torch.get_num_threads()
    at_once = 2 if lanes.beside and length <= lanes.tokens and threads > 1 else 1
    torch.set_num_threads(threads // at_once)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shapes = ((heads, width), (kv_heads, width), (kv_heads, width))
    best = float("inf")
    for _ in range(3):
        query, key, value = (
            torch.randn(length, h, w, dtype=dtype).transpose(0, 1).requires_grad_()
            for h, w in shapes
        )
        started = time.perf_counter()
        output = causal_attention(query, key, value, [length], width**-0.5)
        output.backward(torch.ones_like(output))
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(threads)
    return best / at_once


def point(base_name: str, method: str, length: int, tokens: int, step_tokens: int) -> None:
    """Train on `tokens` tokens of examples of `length`, and print the figures."""
    from copydesk.errors import OutOfMemory
    from copydesk.models import ATTENTION, Encoded, find_method, load_base, make_lanes
    from copydesk.train import PeakMemory, make_settings, tokens_at_once, train

    device = torch.device("cpu")
    chosen = find_method(method)
    own = {"lora_r": 8, "lora_alpha": 16} if method == "lora" else {}
    run, settings = make_settings(method, {"epochs": 1, "batch_tokens": step_tokens, **own})
    dtype = chosen.dtype("auto", device)
    base = load_base(base_info(base_name), device=device, dtype=dtype, attention=ATTENTION)
    config: Any = base.model.config
    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (tokens // length, length), generator=drawn).tolist()
    examples = [
        Encoded(id=str(number), ids=tuple(row), prompt_length=length // 8)
        for number, row in enumerate(ids)
    ]
    tuned = chosen.prepare(base, settings, 0)
    memory = PeakMemory(device)
    found: dict[str, Any] = {"length": length, "tokens": tokens, "dtype": str(dtype)}
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"run": run, "run_digest": "benchmark", "task": "benchmark"}
        given |= {"checkpoint_seconds": 1e9, "loss_before": 0.0}
        try:
            train(tuned, examples[:1], examples[:1], folder=Path(folder) / "warm", **given)
            with memory.watching():
                result = train(tuned, examples, examples[:1], folder=Path(folder) / "run", **given)
        except OutOfMemory as error:
            print(json.dumps(found | {"error": str(error)}))
            return
    rate = result.tokens / result.seconds
    lanes = make_lanes(tuned, tokens_at_once("cpu", step_tokens))
    seconds = attention_seconds(config, length, dtype, lanes)
    attention = config.num_hidden_layers * seconds / length
    found |= {
        "steps": result.steps,
        "tokens_per_second": round(rate, 1),
        "linear_tokens_per_second": round(1 / (1 / rate - attention), 1),
        "attention_share": round(attention * rate, 3),
        "peak_memory_bytes": memory.bytes,
    }
    print(json.dumps(found))


def deviation(points: list[dict[str, Any]], key: str) -> float:
    rates = [point[key] for point in points if key in point]
    middle = statistics.median(rates)
    return round(max(abs(rate / middle - 1) for rate in rates), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--point", nargs=3, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        length, tokens, step_tokens = options.point
        point(options.base, options.method, length, tokens, step_tokens)
        return
    with tempfile.TemporaryDirectory() as folder:
        base = options.base
        if base == "tiny":
            write_tiny(Path(folder))
            base = folder
        else:
            base_info(base)

        def measure(length: int, tokens: int, step_tokens: int) -> dict[str, Any]:
            print(f"{tokens} tokens of examples of {length}", file=sys.stderr)
            where = [str(Path(__file__)), "--base", base, "--method", options.method]
            return run_child([*where, "--point", str(length), str(tokens), str(step_tokens)])

        sizes = [measure(SIZE_LENGTH, tokens, 1_024) for tokens in SIZES]
        lengths = [measure(length, LENGTH_TOKENS, STEP_TOKENS) for length in LENGTHS]
    fitting = [found for found in sizes if "error" not in found]
    peaks = [found["peak_memory_bytes"] for found in fitting]
    rates = [found["tokens_per_second"] for found in fitting]
    emit(
        {
            "benchmark": "linear-cost" + ("-tiny" if options.base == "tiny" else ""),
            "versions": versions("copydesk", "torch", "transformers", "peft"),
            "base": options.base,
            "method": options.method,
            "ours": {"sizes": sizes, "lengths": lengths},
            "rival": rates[0],
            "ratio": round(rates[-1] / rates[0], 3),
            "largest_deviation": {
                "sizes": deviation(sizes, "tokens_per_second"),
                "lengths": deviation(lengths, "linear_tokens_per_second"),
            },
            "memory_growth": round(max(peaks) / min(peaks), 3),
        }
    )


if __name__ == "__main__":
    main()
