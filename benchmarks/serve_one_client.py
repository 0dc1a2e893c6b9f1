"""One client has the engine to itself: its adapter merged into a copy of the base, or beside it.

    python benchmarks/serve_one_client.py [--threads 2] [--rounds 4]

SmolLM2-135M in bfloat16, LoRA r=8 on all linear layers, 96 new tokens; 1, 4 and 16 requests at
once, all of one client: tokens a second with a merged copy (`ours`), beside the base, and of the
base alone; then 15 of them and one of another client, where a copy costs a run of its own. The
kinds take turns, each round is a fresh set of prompts, and the best round counts. `sampled` is the
base and its adapters with a temperature of 0.7, top_p 0.9 and a repetition penalty of 1.1, as
`copydesk write` draws, beside the greedy rate: 16 requests of 8 clients.

`rival` is the adapter beside the base, which is what vLLM, PEFT and LoRAX do.
"""

import argparse
import dataclasses
import time
from typing import Any

from _case import emit, versions
from _serving import adapters, prompts, refs, request, start

from copydesk.records import Sampling

WRITING = Sampling(max_new_tokens=96, temperature=0.7, top_p=0.9, repetition_penalty=1.1, seed=1)
COPY_SECONDS = 120.0


def rate(engine: Any, asked: list[tuple[str, Any]], sampling: Sampling | None = None) -> float:
    """Tokens a second, all at once."""
    wanted = [request(words, adapter) for words, adapter in asked]
    if sampling is not None:
        wanted = [dataclasses.replace(each, sampling=sampling) for each in wanted]
    began = time.perf_counter()
    jobs = [engine.submit(each) for each in wanted]
    tokens = sum(job.result(600).completion.tokens for job in jobs)
    return tokens / (time.perf_counter() - began)


def make_copy(engine: Any, adapter: Any) -> None:
    """Ask for one client alone until its copy is there."""
    end = time.monotonic() + COPY_SECONDS
    number = 0
    while not engine.state().figures["merged_copies"]:
        assert time.monotonic() < end, "no copy was made"
        rate(engine, [(words, adapter) for words in prompts(16, first=5000 + 16 * number)])
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    own = refs(adapters(8))
    beside = start(threads=given.threads, max_running=16)
    merged = start(threads=given.threads, max_running=16, merged_copies=1)
    make_copy(merged, own[0])
    found: dict[str, list[float]] = {}
    first = 0

    def time_all(name: str, count: int, adapters_of: list[Any], kinds: dict[str, Any]) -> None:
        nonlocal first
        for number in range(given.rounds + 1):
            asked = [
                (words, adapters_of[at % len(adapters_of)])
                for at, words in enumerate(prompts(count, first=first))
            ]
            first += count
            for kind, engine in kinds.items():
                if number:
                    found.setdefault(f"{name} {kind}", []).append(rate(engine, asked))
                else:
                    rate(engine, asked)

    both = {"merged": merged, "beside": beside}
    for count in (1, 4, 16):
        time_all(f"{count} of one client,", count, [own[0]], both)
        time_all(f"{count} of no client,", count, [None], {"plain": beside})
    copies = merged.state().figures["merged_copies"]
    time_all("16, one of another,", 16, [own[0]] * 15 + [own[1]], both)
    for number in range(given.rounds + 1):
        asked = [(words, own[at % 8]) for at, words in enumerate(prompts(16, first=first))]
        first += 16
        for kind, sampling in (("greedy", None), ("sampled", WRITING)):
            speed = rate(beside, asked, sampling)
            if number:
                found.setdefault(f"16 of 8 clients, {kind}", []).append(speed)
    figures = merged.state().figures
    beside.stop()
    merged.stop()
    best = {name: round(max(rates), 1) for name, rates in found.items()}
    emit(
        {
            "benchmark": "serve-one-client",
            "versions": versions("torch"),
            "threads": given.threads,
            "copies": copies,
            "merged_megabytes": round(figures["merged_bytes"] / 1e6),
            "tokens_per_second": best,
            "spread": {
                name: [round(min(rates), 1), round(max(rates), 1)] for name, rates in found.items()
            },
            "ours": {"tokens_per_second": best["1 of one client, merged"]},
            "rival": {
                "name": "the adapter beside the base",
                "tokens_per_second": best["1 of one client, beside"],
            },
            "ratio": round(best["1 of one client, merged"] / best["1 of one client, beside"], 3),
            "ratio_of_16": round(
                best["16 of one client, merged"] / best["16 of one client, beside"], 3
            ),
            "sampled_share": round(
                best["16 of 8 clients, sampled"] / best["16 of 8 clients, greedy"], 3
            ),
        }
    )


if __name__ == "__main__":
    main()
