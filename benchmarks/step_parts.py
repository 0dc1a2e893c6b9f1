"""What a step of the engine is made of, and the ways that were weighed for each part.

    python benchmarks/step_parts.py [--threads 2] [--rounds 20]

Shapes are SmolLM2-135M's (30 layers, 576 wide, 9 heads over 3 of keys and values), in bfloat16 on
random numbers; milliseconds for all 30 layers, the least of the rounds:

- `products`: the base's weights times 1 and 16 rows, as torch holds them, in oneDNN's own layout,
  in 8 and in 4 bits;
- `pairs`: LoRA r=8 beside all of them, for 16 rows of 8 adapters: all side by side under a mask,
  packed and as torch holds them; `bmm` over adapters of equal rows; and for one row of one adapter
  in bfloat16 and in float32;
- `attention`: 16 texts of 128 positions: torch's fused one, q K' over a part of a longer block,
  K q' over a part, and K q' over a block of that length;
- `drawing`: the likeliest of 49,152 for 16 rows, by torch and by numpy.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from _case import emit, versions
from torch.nn import functional

from copydesk.serve._linears import Int4Linear, Int8Linear, PackedLinear, PlainLinear

LAYERS, WIDE, INNER, KEYS, QUERIES, HEAD = 30, 576, 1536, 3, 3, 64
SHAPES = {
    "qkv": (WIDE, 960),
    "o": (WIDE, WIDE),
    "gate": (WIDE, INNER),
    "up": (WIDE, INNER),
    "down": (INNER, WIDE),
}


def numbers(*shape: int) -> torch.Tensor:
    return (torch.randn(*shape) * 0.02).bfloat16()


def least(run: Callable[[], Any], rounds: int) -> float:
    """Milliseconds."""
    run()
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return round(1000 * min(times), 3)


def products(rounds: int) -> dict[str, float]:
    kinds = {
        "plain": PlainLinear,
        "packed": PackedLinear,
        "int8": Int8Linear,
        "int4": Int4Linear,
    }
    found: dict[str, float] = {}
    for name, kind in kinds.items():
        linears = [
            {part: kind(numbers(outputs, inputs)) for part, (inputs, outputs) in SHAPES.items()}
            for _ in range(LAYERS)
        ]
        for rows in (1, 16):
            x = {WIDE: numbers(rows, WIDE), INNER: numbers(rows, INNER)}

            def run(linears: Any = linears, x: Any = x) -> None:
                for layer in linears:
                    for part, (inputs, _) in SHAPES.items():
                        layer[part](x[inputs])

            found[f"{name}_{rows}"] = least(run, rounds)
    return found


def pairs(rounds: int, rows: int = 16, adapters: int = 8, rank: int = 8) -> dict[str, float]:
    found: dict[str, float] = {}
    wide = rank * adapters
    parts = {name: 3 if name == "qkv" else 1 for name in SHAPES}
    x = {WIDE: numbers(rows, WIDE), INNER: numbers(rows, INNER)}
    y = {name: numbers(rows, outputs) for name, (_, outputs) in SHAPES.items()}
    mask = {count: torch.ones(rows, count * wide).bfloat16() for count in (1, 3)}
    stacked = [
        {
            name: (numbers(parts[name] * wide, inputs), numbers(outputs, parts[name] * wide))
            for name, (inputs, outputs) in SHAPES.items()
        }
        for _ in range(LAYERS)
    ]
    packed = [
        {name: (PackedLinear(a), PackedLinear(b)) for name, (a, b) in layer.items()}
        for layer in stacked
    ]
    apart = [
        {
            name: (
                numbers(adapters, inputs, parts[name] * rank),
                numbers(adapters, parts[name] * rank, outputs),
            )
            for name, (inputs, outputs) in SHAPES.items()
        }
        for _ in range(LAYERS)
    ]

    def masked_packed() -> None:
        for layer in packed:
            for name, (inputs, _) in SHAPES.items():
                a, b = layer[name]
                b.add(a.times(x[inputs], mask[parts[name]]), y[name])

    def masked_plain() -> None:
        for layer in stacked:
            for name, (inputs, _) in SHAPES.items():
                a, b = layer[name]
                low = functional.linear(x[inputs], a).mul_(mask[parts[name]])
                y[name].addmm_(low, b.T)

    def bmm() -> None:
        for layer in apart:
            for name, (inputs, _) in SHAPES.items():
                a, b = layer[name]
                low = torch.bmm(x[inputs].view(adapters, rows // adapters, -1), a)
                y[name].view(adapters, rows // adapters, -1).baddbmm_(low, b)

    found["masked_packed_16"] = least(masked_packed, rounds)
    found["masked_plain_16"] = least(masked_plain, rounds)
    found["bmm_16"] = least(bmm, rounds)
    return found


def pairs_of_one(rounds: int, rank: int = 8) -> dict[str, float]:
    """One row of one adapter, in two number formats."""
    found: dict[str, float] = {}
    x = {WIDE: numbers(1, WIDE), INNER: numbers(1, INNER)}
    y = {name: numbers(1, outputs) for name, (_, outputs) in SHAPES.items()}
    for dtype in (torch.bfloat16, torch.float32):
        layers = [
            {
                name: (numbers(inputs, rank).to(dtype), numbers(rank, outputs).to(dtype))
                for name, (inputs, outputs) in SHAPES.items()
            }
            for _ in range(LAYERS)
        ]

        def few(layers: Any = layers, dtype: torch.dtype = dtype) -> None:
            for layer in layers:
                for name, (inputs, _) in SHAPES.items():
                    a, b = layer[name]
                    y[name].add_((x[inputs].to(dtype) @ a) @ b)

        found[f"{dtype}_1".removeprefix("torch.")] = least(few, rounds)
    return found


def attention(rounds: int, rows: int = 16, seen: int = 128, block: int = 1024) -> dict[str, float]:
    heads = rows * KEYS
    query = numbers(heads, QUERIES, HEAD)
    mask = torch.zeros(heads, seen, QUERIES).bfloat16()
    flat = torch.zeros(heads, 1, seen).bfloat16()
    long = [(numbers(heads, block, HEAD), numbers(heads, block, HEAD)) for _ in range(LAYERS)]
    short = [(numbers(heads, seen, HEAD), numbers(heads, seen, HEAD)) for _ in range(LAYERS)]

    def fused() -> None:
        for keys, values in short:
            functional.scaled_dot_product_attention(
                query.view(rows, KEYS, QUERIES, HEAD),
                keys.view(rows, KEYS, seen, HEAD),
                values.view(rows, KEYS, seen, HEAD),
                attn_mask=flat.view(rows, KEYS, 1, seen),
            )

    def queries_first() -> None:
        for keys, values in long:
            scores = torch.baddbmm(flat, query, keys[:, :seen].transpose(1, 2))
            torch.bmm(scores.softmax(-1), values[:, :seen])

    def keys_first(blocks: Any, cut: bool) -> None:
        for keys, values in blocks:
            if cut:
                keys, values = keys[:, :seen], values[:, :seen]
            scores = torch.baddbmm(mask, keys, query.transpose(1, 2)).transpose(1, 2)
            torch.bmm(scores.softmax(-1), values)

    return {
        "fused": least(fused, rounds),
        "q_keys_of_a_part": least(queries_first, rounds),
        "keys_q_of_a_part": least(lambda: keys_first(long, True), rounds),
        "keys_q_of_a_block": least(lambda: keys_first(short, False), rounds),
    }


def drawing(rounds: int) -> dict[str, float]:
    logits = torch.randn(16, 49152)
    return {
        "torch": least(lambda: logits.argmax(-1), rounds),
        "numpy": least(lambda: logits.numpy().argmax(-1), rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        found = {
            "products": products(given.rounds),
            "pairs": pairs(given.rounds) | pairs_of_one(given.rounds),
            "attention": attention(given.rounds),
            "drawing": drawing(given.rounds),
        }
    emit(
        {
            "benchmark": "step-parts",
            "versions": versions("torch"),
            "threads": given.threads,
            "ours": found,
            "rival": None,
            "ratio": found["attention"]["fused"] / found["attention"]["keys_q_of_a_block"],
        }
    )


if __name__ == "__main__":
    main()
