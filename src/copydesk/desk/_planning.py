"""Plans: what a run would take, with or without a workspace."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copydesk.records import Listener, Plan, ignore_progress

if TYPE_CHECKING:
    from copydesk.study import ClaimsTable

DEFAULT_HARDWARE = "this"
HARDWARE_FOLDER = "hardware"
"""Of a workspace: where the user's own cards lie."""


def plan_run(
    model: str | None = None,
    *,
    method: str = "lora",
    hardware: str = DEFAULT_HARDWARE,
    settings: Mapping[str, Any] | None = None,
    epoch_tokens: int | None = None,
    root: Path | None = None,
    hourly_usd: float | None = None,
    listener: Listener = ignore_progress,
) -> Plan:
    """Predict parameters, memory, time and cost of a run; nothing of the model is loaded.

    Args:
        model: a shape card's name, a folder or config.json, a base in the cache, or a Hugging Face
            id; by default the smallest card.
        method: a tuning method's name.
        hardware: a card's name, with a count as in `h100x8`; a .toml file; or `this`, which is
            measured at its first use.
        settings: as `--set` gives them.
        epoch_tokens: prompt and answer tokens of an epoch; a million by default.
        root: a workspace, whose `hardware` folder may hold cards.
        hourly_usd: price of an hour of this machine.
        listener: receives progress while this machine is measured.

    Raises:
        UnknownName: no such model, method or hardware card; lists those there are.
        InvalidInput: a configuration, card or setting cannot be used.
        Unreachable: the hub did not give a configuration.
    """
    from copydesk import study
    from copydesk.models import pick_device
    from copydesk.store import default_cache

    cache = default_cache()
    folders = () if root is None else (root / HARDWARE_FOLDER,)
    architecture = study.find_architecture(model or study.DEFAULT_MODEL, cache=cache)
    if hardware == study.THIS:
        machine = study.this_machine(
            pick_device(), cache=cache, hourly_usd=hourly_usd, listener=listener
        )
    else:
        machine = study.find_machine(hardware, folders=folders)
    return study.plan(
        architecture,
        method,
        machine,
        settings=settings,
        epoch_tokens=epoch_tokens or study.EPOCH_TOKENS,
        folders=folders,
    )


def published_claims() -> "ClaimsTable":
    """A published table on tuning 70B models, held against arithmetic."""
    from copydesk import study
    from copydesk.store import default_cache

    return study.claims_table(cache=default_cache())
