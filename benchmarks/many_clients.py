"""Many clients at once: one pass, our own runs one after another, and TRL + PEFT one after another.

    python benchmarks/many_clients.py [--clients 16] [--rival-clients 3] [--sweep 1,4,16]

Each client has 32 short examples (about 90 tokens: product and social copy, real brands' lines
where they are beside the repository, else the sample brands'), one epoch, LoRA r=8 on all linear
layers, eight examples a step. Every figure is the wall time of whole processes, start-up included:

- `ours`: one process, one pass over all clients;
- `solo`: a fresh process for each client. `--solo-clients` are run and the rest is reckoned from
  their mean, as all clients have the same amount of text;
- `rival`: a fresh process of TRL's SFTTrainer for each client, reckoned alike from
  `--rival-clients`.

`ratio` is rival over ours, `solo_ratio` solo over ours; `memory_ratio` is the pass's peak over a
solo run's. `--sweep` adds the rate of a pass over other numbers of clients, at steps of 8 examples
and of 2 (`batch`): where mixing clients stops paying. No other trainer of several adapters was run:
the published one, mlora 0.5.2, wants torch below 2.4 and transformers below 4.45, and its torch
comes as a CUDA build of several gigabytes.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _case import emit, need, posts, run_child, versions

EXAMPLES, TOKENS = 32, 90
HERE = str(Path(__file__))


def pairs(client: int) -> list[tuple[str, str]]:
    """(instruction, answer) of a client: sentences cut from a brand's posts."""
    _, found = posts(("18f", "rust")[client % 2], "kestrel")
    made: list[tuple[str, str]] = []
    for number in range(EXAMPLES):
        post = found[(client * 7 + number) % len(found)]
        words = post["body_markdown"].split()
        start = (client * 53 + number * 31) % max(1, len(words) - 45)
        made.append((f"Write about {post['title']}"[:80], " ".join(words[start : start + 42])))
    return made


def base_info() -> Any:
    from copydesk.models import BaseStore, default_cache

    return BaseStore(default_cache()).pull("smollm2-135m")


def report(**figures: Any) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_memory_bytes": peak, **figures}))


def ours(clients: list[int], batch: int) -> None:
    """One client goes through `tune`, several through `tune_together`, as `copydesk train` does."""
    import torch

    from copydesk.models import encode_example, load_tokenizer, pick_dtype
    from copydesk.records import Message
    from copydesk.train import PassRun, Recipe, make_settings, tune, tune_together

    device, info = torch.device("cpu"), base_info()
    tokenizer = load_tokenizer(info)
    run, own = make_settings(
        "lora",
        {"epochs": 1, "batch_tokens": batch * TOKENS + 60, "lora_r": 8, "lora_alpha": 16},
    )
    dtype = pick_dtype("auto", device)
    with tempfile.TemporaryDirectory() as folder:
        runs: list[PassRun] = []
        for client in clients:
            examples = [
                encode_example(
                    tokenizer, str(n), [Message(role="user", content=ask)], text, max_length=336
                )
                for n, (ask, text) in enumerate(pairs(client))
            ]
            recipe = Recipe(
                base=info,
                dataset_digest=str(client),
                template_digest="benchmark",
                method="lora",
                run=run,
                own=own,
                dtype=dtype,
            )
            runs.append(
                PassRun(
                    name=f"client{client}",
                    recipe=recipe,
                    examples=examples,
                    heldout=examples[:1],
                    folder=Path(folder) / str(client),
                    task=f"client{client}",
                )
            )
        tokens = sum(len(example.ids) for one in runs for example in one.examples)
        median = statistics.median(len(e.ids) for one in runs for e in one.examples)
        started = time.perf_counter()
        if len(runs) == 1:
            one = runs[0]
            tune(
                one.recipe,
                one.examples,
                one.heldout,
                device=device,
                folder=one.folder,
                task=one.task,
                checkpoint_seconds=1e9,
            )
        else:
            failed: dict[str, Exception] = {}
            tune_together(
                runs,
                device=device,
                finished=lambda *_: None,
                failed=failed.__setitem__,
                checkpoint_seconds=1e9,
            )
            assert not failed, failed
        report(tokens=tokens, median=median, tuning_seconds=time.perf_counter() - started)


def rival(client: int) -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from copydesk.models import pick_dtype

    path = base_info().path
    rows = [
        {
            "prompt": [{"role": "user", "content": ask}],
            "completion": [{"role": "assistant", "content": text}],
        }
        for ask, text in pairs(client)
    ]
    dtype = pick_dtype("auto", torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(path, dtype=dtype),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=8,
                num_train_epochs=1,
                max_length=336,
                completion_only_loss=True,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(path),
            peft_config=LoraConfig(
                r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
        trainer.train()
    report(steps=trainer.state.global_step)


def timed(*part: str) -> dict[str, Any]:
    started = time.perf_counter()
    found = run_child([HERE, "--part", *part])
    return {**found, "wall_seconds": time.perf_counter() - started}


def names(count: int) -> str:
    return ",".join(map(str, range(count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--solo-clients", type=int, default=3)
    parser.add_argument("--rival-clients", type=int, default=3)
    parser.add_argument("--sweep", default="1,4,16")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        side, clients, *batch = options.part
        if side == "rival":
            rival(int(clients))
        else:
            ours([int(client) for client in clients.split(",")], int(batch[0]) if batch else 8)
        return
    need("trl")
    base_info()
    solo = [timed("ours", str(client)) for client in range(options.solo_clients)]
    together = timed("ours", names(options.clients))
    rivals = [timed("rival", str(client)) for client in range(options.rival_clients)]
    solo_all = statistics.mean(run["wall_seconds"] for run in solo) * options.clients
    rival_all = statistics.mean(run["wall_seconds"] for run in rivals) * options.clients
    sweep: list[dict[str, Any]] = []
    for count in [int(number) for number in options.sweep.split(",") if number]:
        for batch in (8, 2):
            run = timed("ours", names(count), str(batch))
            rate = run["tokens"] / run["tuning_seconds"]
            sweep.append({"clients": count, "batch": batch, "tokens_per_second": round(rate, 1)})
    emit(
        {
            "benchmark": "many-clients",
            "versions": versions("copydesk", "torch", "transformers", "peft", "trl"),
            "clients": options.clients,
            "median_tokens": together["median"],
            "ours": {
                "wall_seconds": round(together["wall_seconds"], 1),
                "peak_memory_bytes": together["peak_memory_bytes"],
                "tokens": together["tokens"],
            },
            "solo": {
                "wall_seconds": round(solo_all, 1),
                "each": [round(run["wall_seconds"], 1) for run in solo],
                "peak_memory_bytes": max(run["peak_memory_bytes"] for run in solo),
            },
            "rival": {
                "wall_seconds": round(rival_all, 1),
                "each": [round(run["wall_seconds"], 1) for run in rivals],
                "peak_memory_bytes": max(run["peak_memory_bytes"] for run in rivals),
            },
            "ratio": round(rival_all / together["wall_seconds"], 2),
            "solo_ratio": round(solo_all / together["wall_seconds"], 2),
            "memory_ratio": round(
                together["peak_memory_bytes"] / max(run["peak_memory_bytes"] for run in solo), 2
            ),
            "sweep": sweep,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
