"""A published table on tuning a 70B model, beside what can be computed of it.

The table is from a comparison article for content agencies of 2026, "average for a 70B LLM". It
names neither the model's layers, nor machine, nor tokens. Each cell is held against arithmetic on
the shapes of Llama 3.1 70B, the commonest open model of that size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from copydesk.study._hardware import Machine, find_machine
from copydesk.study._plan import EPOCH_TOKENS, Sizes, size_run
from copydesk.study._shapes import Architecture, find_architecture
from copydesk.study._time_model import epoch_seconds
from copydesk.study._trace import trained_shapes
from copydesk.train import make_settings

MODEL = "llama-3.1-70b"
DEVICE = "h100"
RANK = 8
BATCH_TOKENS = 16_384
"""Of a step, on all devices together: some 16 pages."""
_SMALL_BATCH = 1024
COLUMNS = ("lora", "full", "qlora")
_COUNTS = (1, 2, 4, 8, 16, 32)
_TARGETS: Mapping[str, tuple[str, ...] | str] = {
    "q and v": ("q_proj", "v_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "every linear layer": "all-linear",
}
_OFF = 0.25
"""A cell within a quarter of ours is called plausible."""

Judgement = Literal["impossible", "off", "plausible", "to be measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure of the table."""

    metric: str
    method: str
    claimed: float
    ours: float | None
    """None where only a measurement can tell."""
    unit: str
    judgement: Judgement
    reason: str
    """The arithmetic, for a reader to follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsTable:
    """The table, cell by cell."""

    model: str
    total_parameters: int
    assumptions: tuple[str, ...]
    cells: tuple[Cell, ...]


_CLAIMED: Mapping[str, tuple[float, float, float]] = {
    "trainable parameters": (4.5, 70_000, 4.5),
    "GPU memory": (24, 160, 16),
    "time of an epoch": (3.5, 18, 4.0),
    "relative performance": (95, 100, 93),
    "cost of a run": (15, 75, 10),
}


def claims_table(*, cache: Path) -> ClaimsTable:
    """Compute the table's cells. Takes seconds; nothing is loaded.

    Args:
        cache: the user's cache folder.
    """
    architecture = find_architecture(MODEL, cache=cache)
    machine = find_machine(DEVICE)
    runs = {name: size_run(architecture, name, machine, _settings(name)) for name in COLUMNS}
    placed = {name: _fitting(sizes) for name, sizes in runs.items()}
    cells = [
        *_parameter_cells(architecture),
        *_memory_cells(architecture, runs),
        *_time_cells(runs, machine),
        *_performance_cells(),
        *_cost_cells(runs, placed),
    ]
    return ClaimsTable(
        model=MODEL,
        total_parameters=architecture.total_parameters,
        assumptions=(
            f"LoRA and QLoRA: r={RANK} beside every linear layer, base in bfloat16 or 4 bits. "
            "Full: bfloat16 weights and gradients, AdamW's moments and a copy of the weights in "
            "float32.",
            f"1,024 tokens at once, in one example; {BATCH_TOKENS:,} a step.",
            f"An epoch of {EPOCH_TOKENS:,} tokens, since the article names none. Times are as if "
            "one H100 could hold each of the three: what matters is their ratio.",
            "Cost: three epochs on the smallest machine of H100s that holds the run.",
        ),
        cells=tuple(cells),
    )


def _settings(method: str) -> dict[str, str]:
    return {"dtype": "bfloat16"} if method == "full" else {"lora_r": str(RANK)}


def _fitting(sizes: Sizes) -> Machine:
    """The fewest H100s, by doublings, that hold the run."""
    machines = [find_machine(f"{DEVICE}x{count}") for count in _COUNTS]
    for machine in machines:
        if sizes.memory(sizes.smallest, machine).total <= machine.device.memory_bytes:
            return machine
    return machines[-1]


def _hours(sizes: Sizes, machine: Machine, batch_tokens: int = BATCH_TOKENS) -> float:
    seconds = epoch_seconds(
        sizes.trace,
        sizes.fixed,
        machine,
        tokens=EPOCH_TOKENS,
        batch_tokens=batch_tokens,
    )
    return seconds / 3600


def _parameter_cells(architecture: Architecture) -> list[Cell]:
    counts = {words: _millions(architecture, targets) for words, targets in _TARGETS.items()}
    told = ", ".join(f"{count:.1f} million on {words}" for words, count in counts.items())
    wide = architecture.config.get_text_config()
    reason = (
        f"r (in + out) for each adapted layer, r={RANK}: {told}, over {wide.num_hidden_layers} "
        "layers. The least of these is above 4.5 million, which is near what q and v of a 7B model "
        f"have: 32 layers x 2 x {RANK} x (4,096 + 4,096) = 4.2 million."
    )
    total = architecture.total_parameters / 1e6
    ours = (counts["every linear layer"], total, counts["every linear layer"])
    return [
        _cell(
            "trainable parameters",
            method,
            value,
            "million",
            reason
            if method != "full"
            else f"All {total:,.0f} million; the cell rounds the model's name.",
            impossible=method != "full",
        )
        for method, value in zip(COLUMNS, ours, strict=True)
    ]


def _millions(architecture: Architecture, targets: Sequence[str] | str) -> float:
    chosen = targets if isinstance(targets, str) else tuple(targets)
    _, own = make_settings("lora", {"lora_r": RANK, "target_modules": chosen})
    total = 0
    for shape, count in trained_shapes(architecture.config, "lora", own).items():
        total += shape[0] * shape[1] * count
    return total / 1e6


def _memory_cells(architecture: Architecture, runs: Mapping[str, Sizes]) -> list[Cell]:
    billions = architecture.total_parameters / 1e9
    linear = architecture.linear_parameters / 1e9
    rest = billions - linear
    alone = find_machine(DEVICE)
    reasons = {
        "lora": f"{billions:.1f} billion weights x 2 bytes of bfloat16 = {2 * billions:.0f} GB, "
        "before a single activation. An adapter saves gradients and optimiser state, not weights.",
        "full": f"{billions:.1f} billion x (2 bytes of weight + 2 of gradient) = "
        f"{4 * billions:.0f} GB without any optimiser. AdamW in mixed precision takes 16 bytes a "
        f"parameter: {16 * billions:.0f} GB.",
        "qlora": f"{linear:.1f} billion weights of linear layers x 4.13 bits = "
        f"{linear * 4.13 / 8:.1f} GB, and {rest:.1f} billion of embeddings and head x 2 bytes = "
        f"{2 * rest:.1f} GB: {linear * 4.13 / 8 + 2 * rest:.1f} GB before a single activation. "
        "QLoRA's authors tuned 65B on one GPU of 48 GB.",
    }
    cells: list[Cell] = []
    for method in COLUMNS:
        sizes = runs[method]
        total = sizes.memory(sizes.trace.tokens, alone).total / 1e9
        cells.append(_cell("GPU memory", method, total, "GB", reasons[method], impossible=True))
    return cells


def _time_cells(runs: Mapping[str, Sizes], machine: Machine) -> list[Cell]:
    hours = {name: _hours(sizes, machine) for name, sizes in runs.items()}
    lora, full, qlora = (hours[name] for name in COLUMNS)
    small = [_hours(runs[name], machine, _SMALL_BATCH) for name in ("lora", "full")]
    reasons = {
        "lora": f"The article has LoRA at 3.5 / 18 = 19% of full's time. A step is forward, "
        "gradients of activations and gradients of weights, a third of the products each; frozen "
        "weights save the last third, and the optimiser's step. On one machine we predict "
        f"{lora / full:.0%} with steps of {BATCH_TOKENS:,} tokens, and {small[0] / small[1]:.0%} "
        f"with {_SMALL_BATCH:,}. 19% needs other tokens, or another machine.",
        "full": "Hours depend on tokens and machine; the article names neither. See the ratios.",
        "qlora": f"The article has QLoRA at 4.0 / 3.5 = 1.14 of LoRA's time; we predict "
        f"{qlora / lora:.2f}: the same products, and each weight is made from 4 bits again.",
    }
    claimed = _CLAIMED["time of an epoch"]
    judged: dict[str, Judgement] = {
        "lora": "off",
        "full": "to be measured",
        "qlora": "plausible" if abs(qlora / lora / (4.0 / 3.5) - 1) <= _OFF else "off",
    }
    return [
        Cell(
            metric="time of an epoch",
            method=method,
            claimed=said,
            ours=hours[method],
            unit="hours",
            judgement=judged[method],
            reason=reasons[method],
        )
        for method, said in zip(COLUMNS, claimed, strict=True)
    ]


def _performance_cells() -> list[Cell]:
    reason = (
        "No arithmetic gives this. It depends on pages, rank and learning rate; measure it: "
        "copydesk compare CLIENT --methods lora,full,qlora. In PEFT's own comparison LoRA and full "
        "are tied on a 3B model."
    )
    return [
        Cell(
            metric="relative performance",
            method=method,
            claimed=said,
            ours=100.0 if method == "full" else None,
            unit="% of full's",
            judgement="plausible" if method == "full" else "to be measured",
            reason="Full is 100 by definition." if method == "full" else reason,
        )
        for method, said in zip(COLUMNS, _CLAIMED["relative performance"], strict=True)
    ]


def _cost_cells(runs: Mapping[str, Sizes], placed: Mapping[str, Machine]) -> list[Cell]:
    cells: list[Cell] = []
    claimed = zip(COLUMNS, _CLAIMED["cost of a run"], _CLAIMED["time of an epoch"], strict=True)
    for method, cost, hours in claimed:
        machine = placed[method]
        price = machine.hourly_usd or 0.0
        ours = _hours(runs[method], machine) * runs[method].run.epochs * price
        rate = cost / hours
        enough = rate >= price * (1 - _OFF)
        cells.append(
            Cell(
                metric="cost of a run",
                method=method,
                claimed=cost,
                ours=ours,
                unit="$",
                judgement="plausible" if enough else "off",
                reason=f"${cost:.0f} for {hours:g} hours is ${rate:.2f} an hour. What holds the "
                f"run is {machine.count} H100 at ${price:.2f} an hour together.",
            )
        )
    return cells


def _cell(
    metric: str, method: str, ours: float, unit: str, reason: str, *, impossible: bool
) -> Cell:
    """A cell whose claim is judged by its distance from ours."""
    claimed = _CLAIMED[metric][COLUMNS.index(method)]
    judgement: Judgement = "plausible"
    if abs(claimed / ours - 1) > _OFF:
        judgement = "impossible" if impossible else "off"
    return Cell(
        metric=metric,
        method=method,
        claimed=claimed,
        ours=ours,
        unit=unit,
        judgement=judgement,
        reason=reason,
    )
