"""Ten steps of training beside TRL's, on the same batches in float32: how far the losses lie apart.

    python benchmarks/ten_steps_vs_trl.py [--base tiny | smollm2-135m] [--methods lora,full]

A line a method. Forty examples of 96 tokens with prompts of unequal length, so that a batch of four
has no padding and its examples unequal answers. Their words are drawn from 32, which is soon
learned. AdamW at a constant rate without warm-up, gradients clipped at 1. The rival is TRL's
SFTTrainer over the same examples in the same order; LoRA starts from the same draw. The aim is a
difference under 1e-4 at each step. `tiny` is a random two-layer base.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from _case import emit, need, versions

STEPS, BATCH, LENGTH, WORDS = 10, 4, 96, 32
RATES = {"tiny": {"lora": 2e-2, "full": 2e-3}, "smollm2-135m": {"lora": 2e-3, "full": 2e-4}}
"""High enough that ten steps change the loss by nats: else any optimiser would agree. The real base
has the methods' default rates; ten times those send its LoRA up to a loss of 30, where any rounding
is a difference of nats one step later."""
AIM = 1e-4


def write_tiny(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    tokenizer = AutoTokenizer.from_pretrained(BaseStore(default_cache()).pull("smollm2-135m").path)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def examples_for(vocabulary: int) -> list[Any]:
    from copydesk.models import Encoded

    drawn = torch.Generator().manual_seed(1)
    words = torch.randint(0, vocabulary, (WORDS,), generator=drawn)
    ids = words[torch.randint(0, WORDS, (STEPS * BATCH, LENGTH), generator=drawn)].tolist()
    return [
        Encoded(id=str(number), ids=tuple(row), prompt_length=8 + 11 * number % 70)
        for number, row in enumerate(ids)
    ]


def ours(info: Any, method: str, rate: float, examples: list[Any]) -> tuple[list[float], list[Any]]:
    """Our losses, and the examples in the order they were seen."""
    from copydesk.models import ATTENTION, find_method, load_base
    from copydesk.train import make_settings, train

    device = torch.device("cpu")
    run, settings = make_settings(
        method,
        {
            **{"epochs": 1, "batch_tokens": BATCH * LENGTH, "learning_rate": rate},
            **{"lr_scheduler": "constant", "warmup_ratio": 0},
            **({"lora_r": 8, "lora_alpha": 16} if method == "lora" else {}),
        },
    )
    base = load_base(info, device=device, dtype=torch.float32, attention=ATTENTION)
    tuned = find_method(method).prepare(base, settings, run.seed)
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            tuned,
            examples,
            examples[:1],
            run=run,
            run_digest="benchmark",
            folder=Path(folder),
            task="benchmark",
            loss_before=0.0,
            checkpoint_seconds=1e9,
        )
    losses = [point.train_loss for point in result.curve if point.train_loss is not None]
    return losses, [example for step in plan(examples, run) for example in step]


def plan(examples: list[Any], run: Any) -> list[list[Any]]:
    from copydesk.train._plan import plan_steps

    return plan_steps(examples, run)


def rival(info: Any, method: str, rate: float, examples: list[Any]) -> list[float]:
    """TRL's losses, unrounded."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    losses: list[float] = []

    class Listening(SFTTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            found = super().compute_loss(*args, **kwargs)
            losses.append(float(found[0] if isinstance(found, tuple) else found))
            return found

    model: Any = AutoModelForCausalLM.from_pretrained(info.path, dtype=torch.float32)
    if method == "lora":
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        torch.manual_seed(0)
        model = get_peft_model(model, config)
    rows = [
        {
            "input_ids": list(example.ids),
            "completion_mask": [int(n >= example.prompt_length) for n in range(LENGTH)],
        }
        for example in examples
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Listening(
            model=model,
            args=SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                learning_rate=rate,
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=1.0,
                optim="adamw_torch",
                max_length=LENGTH,
                completion_only_loss=True,
                train_sampling_strategy="sequential",
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(info.path),
        )
        trainer.train()
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="tiny", choices=list(RATES))
    parser.add_argument("--methods", default="lora,full")
    options = parser.parse_args()
    need("trl")
    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    with tempfile.TemporaryDirectory() as folder:
        store = BaseStore(default_cache())
        if options.base == "tiny":
            write_tiny(Path(folder))
        info = store.find(folder) if options.base == "tiny" else store.pull(options.base)
        from transformers import AutoConfig

        examples = examples_for(AutoConfig.from_pretrained(info.path).vocab_size)
        for method in options.methods.split(","):
            rate = RATES[options.base][method]
            left, order = ours(info, method, rate, examples)
            right = rival(info, method, rate, order)
            apart = [abs(a - b) for a, b in zip(left, right, strict=True)]
            emit(
                {
                    "benchmark": f"ten-steps-{method}-{options.base}",
                    "versions": versions("copydesk", "torch", "transformers", "peft", "trl"),
                    "ours": [round(loss, 6) for loss in left],
                    "rival": [round(loss, 6) for loss in right],
                    "ratio": round(left[-1] / right[-1], 8),
                    "largest_difference": max(apart),
                    "aim": AIM,
                    "within_aim": max(apart) < AIM,
                }
            )


if __name__ == "__main__":
    main()
