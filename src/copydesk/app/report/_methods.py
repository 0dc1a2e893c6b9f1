"""Tuning methods as people know them."""

from typing import Final

from copydesk.records import RowStatus

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
_STATUS: Final[dict[RowStatus, str]] = {
    "done": "",
    "out_of_memory": "Ran out of memory",
    "diverged": "Training diverged",
    "failed": "Failed",
}


def method_name(method: str) -> str:
    """What to call a method; one that is not known keeps its own name."""
    return _NAMES.get(method, method)


def method_class(method: str) -> str:
    """The style class that gives the method its colour."""
    return f"m-{method}" if method in _NAMES else "m-other"


def status_text(status: RowStatus, error: str | None) -> str:
    """Why a row has no figures; empty where it is done."""
    said = _STATUS[status]
    return f"{said}: {error}" if said and error else said
