"""Training rate and peak memory: Copydesk's loop and TRL with PEFT, on the same examples.

    python benchmarks/train_vs_trl.py [--repeats 3] [--methods lora,full,full-bf16]
        [--rival-dtype auto]

SmolLM2-135M, 32 posts cut to 336 tokens, one epoch of four steps of eight examples, loss on the
answer. Each side runs in a fresh process, in turn; the figure is the median over repeats, the
spread is lowest and highest. Tokens are prompt and answer; time is that of the training call alone;
memory is the process's high-water mark. LoRA: r=8 on all linear layers, both sides in the number
format that the machine multiplies faster (`--rival-dtype bfloat16` to see TRL in the other, on the
first `--rival-examples` where the machine only emulates it: the rate counts, not the sum). `full`:
float32, both sides. `full-bf16`: ours holds weights, gradients and AdamW's moments in bfloat16 and
rounds updates by chance (`dtype=bfloat16 optimizer=adamw_bf16`), TRL is the same float32 run; the
loss of the last step, which both print, says what that costs. TRL runs without gradient
checkpointing, which is its faster setting.
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

COUNT, LENGTH, BATCH = 32, 336, 8
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {"lora_r": 8, "lora_alpha": 16}),
    "full": ("full", {}),
    "full-bf16": ("full", {"dtype": "bfloat16", "optimizer": "adamw_bf16"}),
}


def cases(tokenizer: Any) -> tuple[str, list[tuple[str, str]]]:
    """(source, [(instruction, answer)]) with answers cut so that an example has LENGTH tokens."""
    source, found = posts("18f", "fernwick")
    pairs: list[tuple[str, str]] = []
    for post in (found * 2)[:COUNT]:
        ask = f"Write a blog post titled: {post['title']}"
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": ask}], tokenize=False, add_generation_prompt=True
        )
        room = LENGTH - 2 - len(tokenizer(prompt)["input_ids"])
        body = tokenizer(post["body_markdown"])["input_ids"][:room]
        pairs.append((ask, tokenizer.decode(body)))
    return source, pairs


def base_info() -> Any:
    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    return BaseStore(default_cache()).pull("smollm2-135m")


def report(tokens: int, seconds: float, **extra: Any) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures = {"tokens_per_second": tokens / seconds, "peak_memory_bytes": peak}
    print(json.dumps({**figures, "tokens": tokens, **extra}))


def ours(case: str) -> None:
    import torch

    from copydesk.models import ATTENTION, encode_example, find_method, load_base
    from copydesk.records import Message
    from copydesk.train import make_settings, train

    device = torch.device("cpu")
    method, own = CASES[case]
    chosen = find_method(method)
    run, settings = make_settings(method, {"epochs": 1, "batch_tokens": BATCH * LENGTH, **own})
    dtype = chosen.dtype(run.dtype, device)
    base = load_base(base_info(), device=device, dtype=dtype, attention=ATTENTION)
    source, pairs = cases(base.tokenizer)
    examples = [
        encode_example(
            base.tokenizer,
            str(number),
            [Message(role="user", content=ask)],
            answer,
            max_length=LENGTH,
        )
        for number, (ask, answer) in enumerate(pairs)
    ]
    tuned = chosen.prepare(base, settings, 0)
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            tuned,
            examples,
            examples[:1],
            run=run,
            run_digest="benchmark",
            folder=Path(folder),
            task="benchmark",
            checkpoint_seconds=1e9,
        )
    report(
        result.tokens,
        result.seconds,
        dtype=str(dtype),
        steps=result.steps,
        last_loss=round(result.curve[-1].train_loss or 0.0, 4),
        source=source,
    )


def rival(case: str, wanted: str, count: int) -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from copydesk.models import find_method, pick_dtype

    method, _ = CASES[case]
    device = torch.device("cpu")
    dtype = find_method(method).dtype("auto", device)
    if wanted != "auto":
        dtype = pick_dtype(wanted, device)
    path = base_info().path
    tokenizer = AutoTokenizer.from_pretrained(path)
    _, pairs = cases(tokenizer)
    rows = [
        {
            "prompt": [{"role": "user", "content": ask}],
            "completion": [{"role": "assistant", "content": answer}],
        }
        for ask, answer in pairs[:count]
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(path, dtype=dtype),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                max_length=LENGTH,
                completion_only_loss=True,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"
            )
            if method == "lora"
            else None,
        )
        tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    report(
        tokens,
        seconds,
        dtype=str(dtype),
        steps=trainer.state.global_step,
        last_loss=round(losses[-1], 4),
    )


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    rates = [run["tokens_per_second"] for run in runs]
    return {
        **runs[0],
        "tokens_per_second": round(statistics.median(rates), 1),
        "spread": [round(min(rates), 1), round(max(rates), 1)],
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", default="lora,full,full-bf16")
    parser.add_argument("--rival-dtype", default="auto")
    parser.add_argument("--rival-examples", type=int, default=COUNT)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        side, method = options.part
        if side == "ours":
            ours(method)
        else:
            rival(method, options.rival_dtype, options.rival_examples)
        return
    need("trl")
    base_info()
    suffix = "" if options.rival_dtype == "auto" else f"-rival-{options.rival_dtype}"
    here = str(Path(__file__))
    for method in options.methods.split(","):
        mine: list[dict[str, Any]] = []
        theirs: list[dict[str, Any]] = []
        for number in range(options.repeats):
            print(f"{method}: repeat {number + 1} of {options.repeats}", file=sys.stderr)
            mine.append(run_child([here, "--part", "ours", method]))
            chosen = ["--rival-dtype", options.rival_dtype]
            chosen += ["--rival-examples", str(options.rival_examples)]
            theirs.append(run_child([here, "--part", "rival", method, *chosen]))
        left, right = summary(mine), summary(theirs)
        emit(
            {
                "benchmark": f"train-{method}{suffix}",
                "versions": versions("copydesk", "torch", "transformers", "peft", "trl"),
                "repeats": options.repeats,
                "ours": left,
                "rival": right,
                "ratio": round(left["tokens_per_second"] / right["tokens_per_second"], 2),
                "memory_ratio": round(left["peak_memory_bytes"] / right["peak_memory_bytes"], 3),
            }
        )


if __name__ == "__main__":
    main()
