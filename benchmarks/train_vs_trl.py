"""Training rate and peak memory: Copydesk's loop and TRL with PEFT, on the same examples.

    python benchmarks/train_vs_trl.py [--repeats 3] [--methods lora,full,full-bf16]
        [--rival-dtype auto] [--device cuda --examples 512 --batch 32] [--base FOLDER]

SmolLM2-135M, 32 posts cut to 336 tokens, one epoch of four steps of eight examples, loss on the
answer. Each side runs in a fresh process, in turn; the figure is the median over repeats, the
spread is lowest and highest. Tokens are prompt and answer; time is that of the training call alone;
memory is the process's high-water mark. LoRA: r=8 on all linear layers, both sides in the number
format that the machine multiplies faster (`--rival-dtype bfloat16` to see TRL in the other, on the
first `--rival-examples` where the machine only emulates it: the rate counts, not the sum). `full`:
float32, both sides. `full-bf16`: ours holds weights, gradients and AdamW's moments in bfloat16 and
rounds updates by chance (`dtype=bfloat16 optimizer=adamw_bf16`), TRL is the same float32 run; the
loss of the last step, which both print, says what that costs. `qlora`: the base in NF4 with double
quantisation, both sides. TRL runs without gradient checkpointing, which is its faster setting.

On CUDA memory is what torch allocated at its highest, and a first epoch over one batch, which loads
kernels, is not timed, on both sides. `--base` takes another folder in Hugging Face layout: random
weights of the same shapes are as fast, where the real ones cannot be had.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _case import emit, need, posts, run_child, versions

from copydesk.models import (
    ATTENTION,
    BaseStore,
    backward_loss,
    encode_example,
    find_method,
    load_base,
    pack,
    pick_dtype,
)
from copydesk.records import Message
from copydesk.store import default_cache
from copydesk.train import make_settings, train

LENGTH = 336
LORA = {"lora_r": 8, "lora_alpha": 16}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", LORA),
    "qlora": ("qlora", LORA),
    "full": ("full", {}),
    "full-bf16": ("full", {"dtype": "bfloat16", "optimizer": "adamw_bf16"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What both sides train on."""

    device: str
    base: str | None
    examples: int
    batch: int

    @property
    def info(self) -> Any:
        """The base."""
        store = BaseStore(default_cache())
        return store.pull("smollm2-135m") if self.base is None else store.find(self.base)


def cases(tokenizer: Any, count: int) -> tuple[str, list[tuple[str, str]]]:
    """(source, [(instruction, answer)]) with answers cut so that an example has LENGTH tokens."""
    source, found = posts("18f", "fernwick")
    pairs: list[tuple[str, str]] = []
    for post in (found * (1 + count // len(found)))[:count]:
        ask = f"Write a blog post titled: {post['title']}"
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": ask}], tokenize=False, add_generation_prompt=True
        )
        room = LENGTH - 2 - len(tokenizer(prompt)["input_ids"])
        body = tokenizer(post["body_markdown"])["input_ids"][:room]
        pairs.append((ask, tokenizer.decode(body)))
    return source, pairs


def report(load: Load, tokens: int, seconds: float, **extra: Any) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if load.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    figures = {"tokens_per_second": tokens / seconds, "peak_memory_bytes": peak}
    print(json.dumps({**figures, "tokens": tokens, **extra}))


def ours(case: str, load: Load) -> None:
    device = torch.device(load.device)
    method, own = CASES[case]
    chosen = find_method(method)
    run, settings = make_settings(method, {"epochs": 1, "batch_tokens": load.batch * LENGTH, **own})
    dtype = chosen.dtype(run.dtype, device)
    base = load_base(
        load.info,
        device=device,
        dtype=dtype,
        attention=ATTENTION,
        quantisation=chosen.quantisation(settings),
    )
    source, pairs = cases(base.tokenizer, load.examples)
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
    if load.device == "cuda":
        backward_loss(tuned, pack(examples[: load.batch]).to(device), divisor=1)
        tuned.model.zero_grad()
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
        load,
        result.tokens,
        result.seconds,
        dtype=str(dtype),
        steps=result.steps,
        last_loss=round(result.curve[-1].train_loss or 0.0, 4),
        source=source,
    )


def rival(case: str, load: Load, wanted: str) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    method, _ = CASES[case]
    device = torch.device(load.device)
    dtype = find_method(method).dtype("auto", device)
    if wanted != "auto":
        dtype = pick_dtype(wanted, device)
    path = load.info.path
    tokenizer = AutoTokenizer.from_pretrained(path)
    _, pairs = cases(tokenizer, load.examples)
    rows = [
        {
            "prompt": [{"role": "user", "content": ask}],
            "completion": [{"role": "assistant", "content": answer}],
        }
        for ask, answer in pairs
    ]
    four_bits: dict[str, Any] = {}
    if method == "qlora":
        four_bits["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, device_map={"": load.device}, **four_bits
            ),
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=load.batch,
                num_train_epochs=1,
                max_length=LENGTH,
                completion_only_loss=True,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=load.device == "cpu",
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
            if "lora" in method
            else None,
        )
        tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
        if load.device == "cuda":
            ids = torch.zeros(load.batch, LENGTH, dtype=torch.long, device=device)
            trainer.model(input_ids=ids, labels=ids).loss.backward()
            trainer.model.zero_grad()
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    report(
        load,
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
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--base", help="a folder; SmolLM2-135M where it is left out")
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8, help="examples of a step")
    parser.add_argument("--rival-dtype", default="auto")
    parser.add_argument("--rival-examples", type=int)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    load = Load(
        device=options.device, base=options.base, examples=options.examples, batch=options.batch
    )
    if options.part:
        side, method = options.part
        if side == "ours":
            ours(method, load)
        else:
            rival(method, load, options.rival_dtype)
        return
    need("trl")
    name = load.info.name
    where = "" if load.device == "cpu" else f"-{load.device}"
    suffix = "" if options.rival_dtype == "auto" else f"-rival-{options.rival_dtype}"
    common = [str(Path(__file__)), "--device", load.device, "--batch", str(load.batch)]
    common += ["--rival-dtype", options.rival_dtype]
    common += [] if load.base is None else ["--base", load.base]
    rivals = options.rival_examples or load.examples
    for method in options.methods.split(","):
        mine: list[dict[str, Any]] = []
        theirs: list[dict[str, Any]] = []
        for number in range(options.repeats):
            print(f"{method}: repeat {number + 1} of {options.repeats}", file=sys.stderr)
            mine.append(
                run_child([*common, "--part", "ours", method, "--examples", str(load.examples)])
            )
            theirs.append(
                run_child([*common, "--part", "rival", method, "--examples", str(rivals)])
            )
        left, right = summary(mine), summary(theirs)
        emit(
            {
                "benchmark": f"train-{method}{where}{suffix}",
                "versions": versions("copydesk", "torch", "transformers", "peft", "trl"),
                **({"card": torch.cuda.get_device_name()} if load.device == "cuda" else {}),
                "base": name,
                "batch": load.batch,
                "repeats": options.repeats,
                "ours": left,
                "rival": right,
                "ratio": round(left["tokens_per_second"] / right["tokens_per_second"], 2),
                "memory_ratio": round(left["peak_memory_bytes"] / right["peak_memory_bytes"], 3),
            }
        )


if __name__ == "__main__":
    main()
