"""Tuning methods as people know them."""

from typing import Final

from copydesk.records import MethodRow, RowStatus

_NAMES: Final = {
    "base": "Untuned base",
    "prompted": "Base + style guide and examples in prompt",
    "full": "Full fine-tuning",
    "lora": "LoRA",
    "qlora": "QLoRA (4-bit)",
    "dora": "DoRA",
    "prefix": "Prefix tuning",
    "prompt": "Prompt tuning",
    "bottleneck": "Bottleneck adapter",
}
_SHORT: Final = {
    "base": "Untuned",
    "prompted": "Base + prompt",
    "full": "Full",
    "qlora": "QLoRA",
    "prefix": "Prefix",
    "prompt": "Prompt",
    "bottleneck": "Bottleneck",
}
"""For drawings, where there is little room."""
_WORDS: Final = ("base", "prompted", "full", "prefix", "prompt", "bottleneck")
"""Methods whose names are words rather than abbreviations."""
_LONGEST_SHORT = 16
_UNTUNED: Final = ("base", "prompted")
_STATUS: Final[dict[RowStatus, str]] = {
    "done": "",
    "out_of_memory": "Ran out of memory",
    "diverged": "Training diverged",
    "cut": "Cut short by the budget",
    "failed": "Failed",
}


def method_name(method: str) -> str:
    """What to call a method; one that is not known keeps its own name."""
    return _NAMES.get(method, method)


def method_in_sentence(method: str) -> str:
    """The same where a sentence goes on: `full fine-tuning`, but `LoRA`."""
    name = method_name(method).removesuffix(" (4-bit)")
    return name[:1].lower() + name[1:] if method in _WORDS else name


def short_name(method: str) -> str:
    """A name for drawings, of 16 characters at most."""
    name = _SHORT.get(method, method_name(method))
    return name if len(name) <= _LONGEST_SHORT else name[: _LONGEST_SHORT - 1] + "\u2026"


def method_class(method: str) -> str:
    """The style class that gives the method its colour."""
    return f"m-{method}" if method in _NAMES else "m-other"


def is_tuned(row: MethodRow) -> bool:
    """Whether anything was trained; the two baselines were not."""
    return row.method not in _UNTUNED


def status_text(status: RowStatus, error: str | None) -> str:
    """Why a row has no figures, or not all; empty where it is done."""
    said = _STATUS[status]
    return f"{said}: {error}" if said and error else said
