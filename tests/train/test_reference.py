"""The loop against a plain one: transformers, PEFT and torch, one padded batch a step."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from training import examples_for, prepared, run_loop
from transformers import AutoModelForCausalLM

from copydesk.models import Encoded, backward_loss, pack, split_by_tokens
from copydesk.train import _capacity
from copydesk.train._plan import plan_steps, rate_at

LORA: dict[str, Any] = {"lora_r": 8, "lora_alpha": 16}


def plain_model(base: Path, method: str, seed: int) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if method == "full":
        return model
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def plain_loss(model: Any, batch: list[Encoded]) -> torch.Tensor:
    """Mean loss over the batch's answer tokens: one padded forward, all logits."""
    longest = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(batch):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        mask[row, :length] = 1
        labels[row, example.prompt_length : length] = ids[row, example.prompt_length : length]
    logits = model(input_ids=ids, attention_mask=mask).logits
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_ten_steps_equal_a_plain_loop(
    tiny_base: Path,
    tmp_path: Path,
    method: str,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole batches of unequal examples, more than a micro-batch holds."""
    monkeypatch.setitem(_capacity._AT_ONCE, "cpu", (512, 512))
    settings = {
        **{"epochs": 10, "max_steps": 10, "batch_tokens": 2**14, "learning_rate": 2e-3},
        **{"lr_scheduler": scheduler, "weight_decay": 0.1, "max_grad_norm": 0.7},
    }
    tuned, run = prepared(tiny_base, method, **settings, **(LORA if method == "lora" else {}))
    steps = plan_steps(examples_for(tuned), run)
    parts = split_by_tokens(steps[0], 512)
    sizes = {sum(example.answer_length for example in part) for part in parts}
    assert len(parts) > 1 and len(sizes) > 1, "the step must be accumulated, unevenly"
    result = run_loop(tuned, run, tmp_path, seconds=1e9)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]

    model = plain_model(tiny_base, method, run.seed)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in trained if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
    for number, batch in enumerate(steps):
        loss = plain_loss(model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 0.7)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(number, 10, run)
        optimizer.step()
        optimizer.zero_grad()
        assert result.curve[number + 1].train_loss == pytest.approx(loss.item(), abs=1e-4)
        assert lines[number]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-3)
    assert result.curve[10].train_loss < result.curve[1].train_loss


def test_unequal_micro_batches_give_the_gradient_of_the_whole_batch(tiny_base: Path) -> None:
    """Averaging each micro-batch's mean would weigh short answers more."""
    tuned, _ = prepared(tiny_base, "full")
    batch = examples_for(tuned)
    targets = sum(example.answer_length for example in batch)
    for part in split_by_tokens(batch, 250):
        backward_loss(tuned, pack(part), divisor=targets)
    ours = {name: parameter.grad for name, parameter in tuned.parameters.items()}
    model = plain_model(tiny_base, "full", 0)
    plain_loss(model, batch).backward()
    whole = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, gradient in whole.items():
        apart = (ours[name] - gradient).norm() / gradient.norm()
        assert apart < 1e-4, name
    means = [plain_loss(model, part) for part in split_by_tokens(batch, 250)]
    model.zero_grad()
    torch.stack(means).mean().backward()
    name = "model.layers.0.mlp.up_proj.weight"
    wrong = dict(model.named_parameters())[name].grad
    assert (ours[name] - wrong).norm() / whole[name].norm() > 0.01
