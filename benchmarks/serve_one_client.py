"""One client has the engine to itself: its adapter merged into a copy of the base, or beside it.

    python benchmarks/serve_one_client.py [--threads 2] [--rounds 4]

SmolLM2-135M in bfloat16, LoRA r=8 on all linear layers, 96 new tokens; 1, 4 and 16 requests at
once, all of one client: tokens a second with a merged copy (`ours`), beside the base, and of the
base alone; then 15 of them and one of another client, where a copy costs a run of its own. Each
kind has a process of its own, twice, in turns; each round is a fresh set of prompts, and the best
counts. `sampled` is 16 requests of 8 clients with a temperature of 0.7, top_p 0.9 and a repetition
penalty of 1.1, as `copydesk write` draws, beside the greedy rate.

`rival` is the adapter beside the base, which is what vLLM, PEFT and LoRAX do.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
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


def part(kind: str, threads: int, rounds: int) -> None:
    """One engine's rates, in this process."""
    own = refs(adapters(8))
    merging = kind == "merged"
    engine = start(threads=threads, max_running=16, merged_copies=1 if merging else 0)
    if merging:
        make_copy(engine, own[0])
    cases: dict[str, tuple[int, list[Any], Sampling | None]] = {
        f"{count} of one client": (count, [own[0]], None) for count in (1, 4, 16)
    }
    if not merging:
        cases |= {f"{count} of no client": (count, [None], None) for count in (1, 4, 16)}
        cases |= {
            "16 of 8 clients": (16, own, None),
            "16 of 8 clients, sampled": (16, own, WRITING),
        }
    cases["16, one of another"] = (16, [own[0]] * 15 + [own[1]], None)
    found: dict[str, list[float]] = {name: [] for name in cases}
    first = 0
    for number in range(rounds + 1):
        for name, (count, whose, sampling) in cases.items():
            asked = [
                (words, whose[at % len(whose)])
                for at, words in enumerate(prompts(count, first=first))
            ]
            first += count
            speed = rate(engine, asked, sampling)
            if number:
                found[name].append(speed)
    figures = engine.state().figures
    engine.stop()
    print(
        json.dumps(
            {
                "rates": found,
                "copies": figures["merged_copies"],
                "megabytes": figures["merged_bytes"] / 1e6,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        part(given.part, given.threads, given.rounds)
        return
    found: dict[str, list[float]] = {}
    merged: dict[str, Any] = {}
    for kind in ("beside", "merged", "beside", "merged"):
        command = [sys.executable, __file__, "--part", kind]
        command += ["--threads", str(given.threads), "--rounds", str(given.rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        for name, rates in told["rates"].items():
            found.setdefault(f"{name}, {kind}", []).extend(rates)
        if kind == "merged":
            merged = told
    best = {name: round(max(rates), 1) for name, rates in found.items()}
    share = best["16 of 8 clients, sampled, beside"] / best["16 of 8 clients, beside"]
    emit(
        {
            "benchmark": "serve-one-client",
            "versions": versions("torch"),
            "threads": given.threads,
            "copies": merged["copies"],
            "merged_megabytes": round(merged["megabytes"]),
            "tokens_per_second": best,
            "slowest": {name: round(min(rates), 1) for name, rates in found.items()},
            "ours": {"tokens_per_second": best["1 of one client, merged"]},
            "rival": {
                "name": "the adapter beside the base",
                "tokens_per_second": best["1 of one client, beside"],
            },
            "ratio": round(best["1 of one client, merged"] / best["1 of one client, beside"], 3),
            "ratio_of_16": round(
                best["16 of one client, merged"] / best["16 of one client, beside"], 3
            ),
            "sampled_share": round(share, 3),
        }
    )


if __name__ == "__main__":
    main()
