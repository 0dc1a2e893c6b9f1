"""What the machine can do: matrix rates in float32 and bfloat16, and the ceiling they set.

    python benchmarks/matrix_rate.py

Best of 20 products of the shapes of SmolLM2-135M's gate projection at 1,024 tokens. The ceiling is
that rate over the multiplications LoRA cannot avoid: forward and backward through the frozen
weights and the head, 4 x 134.5 million a token. `ours` is float32, `rival` bfloat16.
"""

import time

import torch
from _case import emit, versions

TOKENS, WIDTH, INNER = 1024, 576, 1536
LORA_FLOP_A_TOKEN = 4 * 134.5e6


def rate(dtype: torch.dtype) -> float:
    """Floating-point operations a second, best of 20."""
    x, w = torch.randn(TOKENS, WIDTH).to(dtype), torch.randn(INNER, WIDTH).to(dtype)
    seconds: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        torch.nn.functional.linear(x, w)
        seconds.append(time.perf_counter() - started)
    return 2 * TOKENS * WIDTH * INNER / min(seconds)


def figures(dtype: torch.dtype) -> dict[str, float]:
    found = rate(dtype)
    return {
        "gflop_per_second": round(found / 1e9, 1),
        "lora_tokens_per_second_ceiling": round(found / LORA_FLOP_A_TOKEN, 1),
    }


def main() -> None:
    ours, rival = figures(torch.float32), figures(torch.bfloat16)
    emit(
        {
            "benchmark": "matrix-rate",
            "versions": versions("torch"),
            "ours": ours,
            "rival": rival,
            "ratio": round(ours["gflop_per_second"] / rival["gflop_per_second"], 2),
        }
    )


if __name__ == "__main__":
    main()
