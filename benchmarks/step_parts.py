"""What a step of the engine is made of, and the ways that were weighed for each part.

    python benchmarks/step_parts.py [--threads 2] [--rounds 20]

Shapes are SmolLM2-135M's (30 layers, 576 wide, 9 heads over 3 of keys and values), in bfloat16 on
random numbers; milliseconds for all 30 layers, the least of the rounds:

- `products`: the base's weights times 1 and 16 rows, as torch holds them, in oneDNN's own layout,
  in 8 and in 4 bits;
- `pairs`: LoRA r=8 beside all of them, for 16 rows of 8 adapters: the compiled kernel, all side by
  side under a mask, and `bmm` over adapters of equal rows; and the kernel for one row;
- `attention`: 16 texts of 128 positions: the compiled kernel, which also turns queries and keeps
  keys and values; and the products alone: torch's fused one, q K' over a part of a longer block,
  K q' over a part, and K q' over a block of that length;
- `small`: the norm, and the gated activation, by kernel and by torch;
- `drawing`: for 16 rows of bfloat16 the likeliest of 49,152, by torch, by numpy and by the compiled
  kernel; and a draw from the nucleus (top_p 0.9, temperature 0.7, repetition penalty 1.1 on 300
  tokens), by the kernel, by numpy row by row, and without the penalty from a whole sort by torch.
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _case import emit, versions
from torch.nn import functional

from copydesk.records import Sampling
from copydesk.serve._architecture import GROUPS
from copydesk.serve._compiled import CompiledPairs
from copydesk.serve._drawing import Drawer, draw
from copydesk.serve._fused import FusedAdapter, FusedPair, FusedPart
from copydesk.serve._kernels import Attention, Kernels, load_kernels
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


def fused(rank: int) -> FusedAdapter:
    """An adapter beside everything."""
    pairs: dict[tuple[int, str], FusedPair] = {}
    for layer in range(LAYERS):
        for name, (inputs, outputs) in SHAPES.items():
            widths = (
                (QUERIES * KEYS * HEAD, KEYS * HEAD, KEYS * HEAD) if name == "qkv" else (outputs,)
            )
            starts = [sum(widths[:at]) for at in range(len(widths))]
            pairs[layer, name] = FusedPair(
                a=numbers(rank * len(widths), inputs),
                parts=tuple(
                    FusedPart.of(start, numbers(width, rank))
                    for start, width in zip(starts, widths, strict=True)
                ),
                outputs=outputs,
                factors=None,
            )
    return FusedAdapter(
        layers=LAYERS, pairs=pairs, narrow={}, non_linearity="", prefix=None, prompt=None
    )


def pairs(
    kernels: Kernels, rounds: int, rows: int = 16, adapters: int = 8, rank: int = 8
) -> dict[str, float]:
    wide = rank * adapters
    parts = {name: len(GROUPS[name]) for name in SHAPES}
    x = {WIDE: numbers(rows, WIDE), INNER: numbers(rows, INNER)}
    y = {name: numbers(rows, outputs) for name, (_, outputs) in SHAPES.items()}
    mask = {count: torch.ones(rows, count * wide).bfloat16() for count in (1, 3)}
    held = [fused(rank) for _ in range(adapters)]
    owners = CompiledPairs([held[row % adapters] for row in range(rows)], kernels)
    one = CompiledPairs([held[0]], kernels)
    stacked = [
        {
            name: (numbers(parts[name] * wide, inputs), numbers(outputs, parts[name] * wide))
            for name, (inputs, outputs) in SHAPES.items()
        }
        for _ in range(LAYERS)
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

    def compiled(owners: CompiledPairs, count: int) -> None:
        for layer in range(LAYERS):
            for name, (inputs, _) in SHAPES.items():
                owners.add((layer, name), x[inputs][:count], y[name][:count])

    def masked() -> None:
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

    return {
        "kernel_16": least(lambda: compiled(owners, rows), rounds),
        "masked_16": least(masked, rounds),
        "bmm_16": least(bmm, rounds),
        "kernel_1": least(lambda: compiled(one, 1), rounds),
    }


def attention(
    kernels: Kernels, rounds: int, rows: int = 16, seen: int = 128, block: int = 1024
) -> dict[str, float]:
    heads = rows * KEYS
    query = numbers(heads, QUERIES, HEAD)
    mask = torch.zeros(heads, seen, QUERIES).bfloat16()
    flat = torch.zeros(heads, 1, seen).bfloat16()
    long = [(numbers(heads, block, HEAD), numbers(heads, block, HEAD)) for _ in range(LAYERS)]
    short = [(numbers(heads, seen, HEAD), numbers(heads, seen, HEAD)) for _ in range(LAYERS)]

    kept = [numbers(2, rows, KEYS, seen, HEAD) for _ in range(LAYERS)]
    angles = torch.rand(seen, HEAD)
    how = Attention(
        heads=KEYS * QUERIES,
        groups=KEYS,
        width=HEAD,
        slot_stride=kept[0].stride(1),
        head_stride=kept[0].stride(2),
        scale=0.125,
        cos=angles.data_ptr(),
        sin=angles.data_ptr(),
    )
    qkv, last = numbers(rows, (QUERIES + 2) * KEYS * HEAD), torch.full((rows,), seen - 1)

    def kernel() -> None:
        for both in kept:
            kernels.attend(ctypes.addressof(how), qkv, last, both)

    def torch_fused() -> None:
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
        "kernel": least(kernel, rounds),
        "fused": least(torch_fused, rounds),
        "q_keys_of_a_part": least(queries_first, rounds),
        "keys_q_of_a_part": least(lambda: keys_first(long, True), rounds),
        "keys_q_of_a_block": least(lambda: keys_first(short, False), rounds),
    }


def small(kernels: Kernels, rounds: int, rows: int = 16) -> dict[str, float]:
    x, weight = numbers(rows, WIDE), numbers(WIDE)
    gate, up = numbers(rows, INNER), numbers(rows, INNER)
    norms = range(2 * LAYERS)
    return {
        "norm_kernel": least(lambda: [kernels.norm(x, weight, 1e-5) for _ in norms], rounds),
        "norm_torch": least(
            lambda: [torch.rms_norm(x, (WIDE,), weight, 1e-5) for _ in norms], rounds
        ),
        "gated_kernel": least(
            lambda: [kernels.gated(None, (0, 0), x, gate, up, 0) for _ in range(LAYERS)], rounds
        ),
        "gated_torch": least(
            lambda: [functional.silu(gate).mul_(up) for _ in range(LAYERS)], rounds
        ),
    }


def drawing(rounds: int, kernels: Kernels) -> dict[str, float]:
    logits = torch.randn(16, 49152) * 2.5
    logits[:, 1000:1060] += torch.rand(16, 60) * 14  # what may follow is a few words
    logits = logits.bfloat16()

    def drawers(**settings: Any) -> list[Drawer]:
        made = [Drawer(sampling=Sampling(**settings)) for _ in range(16)]
        for drawer in made:
            drawer.note(range(900, 1200))
        return made

    greedy = drawers(temperature=0, repetition_penalty=1.0)
    nucleus = drawers(temperature=0.7, top_p=0.9, repetition_penalty=1.1)

    def by_sorting() -> None:
        for row in logits.float():
            mass = (row / 0.7).softmax(-1).sort(descending=True).values.cumsum(0)
            torch.searchsorted(mass, 0.4)

    return {
        "torch": least(lambda: logits.argmax(-1), rounds),
        "numpy": least(lambda: draw(logits, greedy), rounds),
        "kernel": least(lambda: draw(logits, greedy, kernels), rounds),
        "nucleus_kernel": least(lambda: draw(logits, nucleus, kernels), rounds),
        "nucleus_numpy": least(lambda: draw(logits, nucleus), rounds),
        "nucleus_by_sorting": least(by_sorting, rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    kernels = load_kernels()
    if kernels is None:
        sys.exit("There is no C++ compiler here, or it cannot build the kernels.")
    with torch.inference_mode():
        found = {
            "products": products(given.rounds),
            "pairs": pairs(kernels, given.rounds),
            "attention": attention(kernels, given.rounds),
            "small": small(kernels, given.rounds),
            "drawing": drawing(given.rounds, kernels),
        }
    emit(
        {
            "benchmark": "step-parts",
            "versions": versions("torch"),
            "threads": given.threads,
            "ours": found,
            "rival": None,
            "ratio": round(found["attention"]["fused"] / found["attention"]["kernel"], 2),
        }
    )


if __name__ == "__main__":
    main()
