"""Many clients at once: one pass, our own runs one after another, and TRL + PEFT one after another.

    python benchmarks/many_clients.py [--clients 16] [--rival-clients 3] [--sweep 1,2,4,8,16,64,256]

Each client has 32 short examples (about 90 tokens: product and social copy, real brands' lines
where they are beside the repository, else the sample brands'), one epoch, LoRA r=8 on all linear
layers, eight examples a step. Every figure is the wall time of whole processes, start-up included:

- `ours`: one process, one pass over all clients;
- `solo`: a fresh process for each client. `--solo-clients` are run and the rest is reckoned from
  their mean, as all clients have the same amount of text;
- `rival`: a fresh process of TRL's SFTTrainer for each client, reckoned alike from
  `--rival-clients`.

`ratio` is rival over ours, `solo_ratio` solo over ours; `memory_ratio` is the pass's peak over a
solo run's. `--sweep` adds a line with the rate of a pass over other numbers of clients, at steps of
8 examples and of 2 (`batch`): where mixing clients stops paying. It cuts runs short, to about 128
examples a point in all and at least one step a client, leaves out points of over 512, and is drawn
into `results/many-clients.svg`. No other trainer of several adapters was run:
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _case import emit, need, posts, run_child, versions

EXAMPLES, TOKENS = 32, 90
SWEPT, MOST_SWEPT = 128, 512
"""Examples of a point of the sweep, and the most that one may have."""
HERE = str(Path(__file__))
PLOT = Path(__file__).parent / "results" / "many-clients.svg"


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
    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    return BaseStore(default_cache()).pull("smollm2-135m")


def report(**figures: Any) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_memory_bytes": peak, **figures}))


def ours(clients: list[int], batch: int, steps: int | None) -> None:
    """One client goes through `tune`, several through `tune_together`, as `copydesk train` does."""
    import torch

    from copydesk.models import encode_example, load_tokenizer, pick_dtype
    from copydesk.records import Message
    from copydesk.train import PassRun, Recipe, TrainResult, make_settings, tune, tune_together

    device, info = torch.device("cpu"), base_info()
    tokenizer = load_tokenizer(info)
    run, own = make_settings(
        "lora",
        {
            "epochs": 1,
            "batch_tokens": batch * TOKENS + 60,
            "max_steps": steps,
            "lora_r": 8,
            "lora_alpha": 16,
        },
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
        median = statistics.median(len(e.ids) for one in runs for e in one.examples)
        results: list[TrainResult] = []
        if len(runs) == 1:
            one = runs[0]
            tuning = tune(
                one.recipe,
                one.examples,
                one.heldout,
                device=device,
                folder=one.folder,
                task=one.task,
                checkpoint_seconds=1e9,
            )
            results.append(tuning.result)
        else:
            failed: dict[str, Exception] = {}
            tune_together(
                runs,
                device=device,
                finished=lambda _, tuning: results.append(tuning.result),
                failed=failed.__setitem__,
                checkpoint_seconds=1e9,
            )
            assert not failed, failed
        report(
            tokens=sum(result.tokens for result in results),
            training_seconds=sum(result.seconds for result in results),
            median=median,
        )


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


def swept(counts: list[int]) -> Iterator[dict[str, Any]]:
    """The training rate of passes over so many clients, at each size of a step."""
    for batch in (8, 2):
        for count in counts:
            if count * batch > MOST_SWEPT:
                continue
            run = timed("ours", names(count), str(batch), str(max(1, SWEPT // (count * batch))))
            rate = run["tokens"] / run["training_seconds"]
            yield {
                "clients": count,
                "batch": batch,
                "tokens": run["tokens"],
                "tokens_per_second": round(rate, 1),
                "peak_memory_bytes": run["peak_memory_bytes"],
            }


def draw(sweep: list[dict[str, Any]]) -> None:
    need("matplotlib")
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    for batch in sorted({point["batch"] for point in sweep}):
        points = [point for point in sweep if point["batch"] == batch]
        axes.plot(
            [point["clients"] for point in points],
            [point["tokens_per_second"] for point in points],
            marker="o",
            label=f"{batch} examples a step",
        )
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clients in one pass")
    axes.set_ylabel("training tokens a second")
    axes.legend()
    figure.tight_layout()
    figure.savefig(PLOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--solo-clients", type=int, default=3)
    parser.add_argument("--rival-clients", type=int, default=3)
    parser.add_argument("--sweep", default="1,2,4,8,16,64,256")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        side, clients, *batch = options.part
        if side == "rival":
            rival(int(clients))
        else:
            size, steps = map(int, batch) if batch else (8, 0)
            ours([int(client) for client in clients.split(",")], size, steps or None)
        return
    need("trl")
    base_info()
    solo = [timed("ours", str(client)) for client in range(options.solo_clients)]
    together = timed("ours", names(options.clients))
    rivals = [timed("rival", str(client)) for client in range(options.rival_clients)]
    solo_all = statistics.mean(run["wall_seconds"] for run in solo) * options.clients
    rival_all = statistics.mean(run["wall_seconds"] for run in rivals) * options.clients
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
        }
    )
    if options.sweep:
        points = list(swept([int(number) for number in options.sweep.split(",")]))
        draw(points)
        emit(
            {
                "benchmark": "many-clients-sweep",
                "versions": versions("copydesk", "torch", "transformers", "peft"),
                "ours": points,
                "rival": None,
                "ratio": None,
            }
        )


if __name__ == "__main__":
    sys.exit(main())
