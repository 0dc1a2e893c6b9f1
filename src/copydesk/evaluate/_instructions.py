"""An instruction probe: can the model still do as it is told, exactly, after it was tuned?

Twenty-four tasks written for this project, each with an answer that a rule can check: one word,
three list items, lower case, a word to use or to avoid, a JSON object with given keys. The idea of
instructions that are verified without a judge is IFEval's (Zhou et al. 2023, arXiv:2311.07911); the
tasks are shorter, so that a small model on a CPU answers them all in seconds.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch

from copydesk.models import Tuned, encode_chat
from copydesk.records import Message

MAX_NEW_TOKENS = 40
"""Every task can be done in half of it; what rambles past it is cut and judged as it stands."""
_BATCH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionTask:
    """What is asked, and the rules that the answer must keep, all of them."""

    id: str
    prompt: str
    checks: tuple[Mapping[str, Any], ...]
    """Each with a `kind` and that kind's own values."""


def instruction_tasks() -> tuple[InstructionTask, ...]:
    """The tasks, in order."""
    return tuple(
        InstructionTask(id=item["id"], prompt=item["prompt"], checks=tuple(item["checks"]))
        for item in map(json.loads, _raw().decode().splitlines())
    )


def instruction_digest() -> str:
    """SHA-256 of the tasks."""
    return hashlib.sha256(_raw()).hexdigest()


def follows(task: InstructionTask, answer: str) -> bool:
    """Whether an answer, white space round it aside, keeps all of the task's rules."""
    text = answer.strip()
    return bool(text) and all(_RULES[check["kind"]](text, check) for check in task.checks)


def instruction_answers(
    tuned: Tuned, tasks: Sequence[InstructionTask], *, max_new_tokens: int = MAX_NEW_TOKENS
) -> tuple[str, ...]:
    """What the model answers to each task, greedily.

    Args:
        tuned: loaded for generation, without packed attention. Methods with virtual tokens answer
            one by one: their wrapper does not place them behind padding.
        tasks: what is asked.
        max_new_tokens: where an answer is cut.
    """
    tokenizer = tuned.base.tokenizer
    end = tokenizer.eos_token_id
    pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    device = tuned.base.device
    prompts = [
        encode_chat(tokenizer, [Message(role="user", content=task.prompt)]) for task in tasks
    ]
    size = 1 if tuned.virtual else _BATCH
    answers: list[str] = []
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        width = max(map(len, batch))
        ids_BT = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in batch])
        mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in batch])
        with torch.inference_mode():
            output_BT = tuned.generate(
                ids_BT.to(device),
                attention_mask=mask_BT.to(device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=end,
                pad_token_id=pad,
            )
        answers += tokenizer.batch_decode(output_BT[:, width:], skip_special_tokens=True)
    return tuple(answers)


def instructions_followed(tuned: Tuned) -> tuple[bool, ...]:
    """Of each task, whether the model does as told."""
    tasks = instruction_tasks()
    answers = instruction_answers(tuned, tasks)
    return tuple(follows(task, answer) for task, answer in zip(tasks, answers, strict=True))


def _raw() -> bytes:
    return resources.files("copydesk.evaluate").joinpath("instructions.jsonl").read_bytes()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _is_items(text: str, check: Mapping[str, Any]) -> bool:
    lines = _lines(text)
    return len(lines) == check["count"] and all(re.match(r"[-*] +\S", line) for line in lines)


def _is_numbered(text: str, check: Mapping[str, Any]) -> bool:
    lines = _lines(text)
    return len(lines) == check["count"] and all(
        re.match(rf"{number}[.)] +\S", line) for number, line in enumerate(lines, start=1)
    )


def _is_case(text: str, check: Mapping[str, Any]) -> bool:
    return text.islower() if check["of"] == "lower" else text.isupper()


def _is_json(text: str, check: Mapping[str, Any]) -> bool:
    fenced = re.fullmatch(r"(?s)```(?:json)?\s*(.*?)\s*```", text)
    try:
        found = json.loads(fenced[1] if fenced else text)
    except json.JSONDecodeError:
        return False
    return isinstance(found, dict) and set(check["keys"]) == set(found)


def _is_separated(text: str, check: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in text.split(check["mark"])]
    return len(parts) == check["count"] and all(parts) and len(_lines(text)) <= check["count"]


_RULES: Mapping[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "words": lambda text, check: len(text.split()) <= check["most"],
    "matches": lambda text, check: re.fullmatch(check["pattern"], text) is not None,
    "items": _is_items,
    "numbered": _is_numbered,
    "case": _is_case,
    "contains": lambda text, check: _word(text, check["text"]),
    "avoids": lambda text, check: not _word(text, check["text"]),
    "avoids_mark": lambda text, check: check["text"] not in text,
    "starts": lambda text, check: text.startswith(check["text"]),
    "ends": lambda text, check: text.rstrip('."').endswith(check["text"]),
    "json": _is_json,
    "separated": _is_separated,
}
