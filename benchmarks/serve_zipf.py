"""A thousand registered adapters, traffic after Zipf, 64 in memory: rate, errors, memory.

    python benchmarks/serve_zipf.py [--adapters 1000] [--requests 256] [--threads 2]

Adapters are LoRA r=8 on all linear layers of SmolLM2-135M; the n-th is asked for with a probability
proportional to 1 / n. Sixteen requests run at a time, 96 new tokens each, greedy, bfloat16. `ratio`
is the rate over that of eight clients in the same process (at least 0.7 is asked); `ours` tells
errors, the peak of resident memory, and what the engine says its caches hold. The files take
10 MB an adapter.
"""

import argparse
import random
import resource
import sys
import time

from _case import emit, versions
from _serving import adapters, prompts, refs, request, round_of, start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--adapters", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    own = refs(adapters(given.adapters))
    engine = start(threads=given.threads, max_running=16, max_waiting=max(64, given.requests))
    eight = [(words, own[at % 8]) for at, words in enumerate(prompts(16))]
    rates = [round_of(engine, eight)["tokens_per_second"] for _ in range(4)]
    draw = random.Random(0)
    weights = [1 / (rank + 1) for rank in range(len(own))]
    chosen = draw.choices(own, weights, k=given.requests)
    resident = 0.0
    began = time.perf_counter()
    asked = zip(prompts(given.requests, first=1000), chosen, strict=True)
    jobs = [engine.submit(request(words, ref)) for words, ref in asked]
    tokens, errors = 0, 0
    for job in jobs:
        try:
            tokens += job.result(3600).completion.tokens
        except Exception as error:  # noqa: BLE001 - counted, and shown
            errors += 1
            print(error, file=sys.stderr)
        resident = max(resident, engine.state().figures["adapters_resident"])
    seconds = time.perf_counter() - began
    figures = engine.state().figures
    engine.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    emit(
        {
            "benchmark": "serve-zipf",
            "versions": versions("torch", "transformers", "peft"),
            "ours": {
                "tokens_per_second": tokens / seconds,
                "errors": errors,
                "adapters": given.adapters,
                "asked_for": len({ref.name for ref in chosen}),
                "most_resident": resident,
                "evictions": figures["adapter_evictions_total"],
                "hit_rate": figures["adapter_hits_total"]
                / (figures["adapter_hits_total"] + figures["adapter_misses_total"]),
                "adapters_bytes": figures["adapters_bytes"],
                "slots_bytes_limit": figures["slots_bytes_limit"],
                "prefix_bytes": figures["prefix_bytes"],
                "peak_memory_bytes": peak,
            },
            "rival": {"name": "eight clients, this engine", "tokens_per_second": max(rates)},
            "ratio": tokens / seconds / max(rates),
        }
    )


if __name__ == "__main__":
    main()
