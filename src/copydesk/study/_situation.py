"""What a choice rests on: the situation, and the facts about a method in it.

Facts are numbers, words or yes and no, by name; a fact that is not known is None, and no rule that
asks for it applies. `FACTS` is the list that rules may ask for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from copydesk.models import METHODS, find_method
from copydesk.records import Comparison, Latency, Plan, Purpose

BITS_A_PARAMETER = 2.0
"""What a trained parameter holds (Allen-Zhu and Li 2024, Physics of Language Models 3.3)."""
BITS_A_TOKEN = 1.0
"""Taken to be learned of a token where the base's loss on the pages is not known (Schulman et al.
2025, LoRA Without Regret)."""
PLANNED_RANK = 16
"""The rank that forecasts of low-rank methods are for, unless they say another."""

Fact = float | bool | str | None

FACTS: Mapping[str, str] = {
    "method": "the method that is judged",
    "leaves": "what it leaves: adapter or base",
    "merges": "whether it leaves, or folds into, plain weights",
    "vllm": "whether vLLM serves what it leaves",
    "purpose": "client, or foundation: a base that adapters will stand on",
    "latency": "any, or lowest: no slower than the plain base",
    "pages": "training pages of the client; of several, of the largest",
    "tokens": "tokens of one epoch over them",
    "batch_pages": "pages in a step",
    "clients": "clients that one base is to serve",
    "updates_month": "trainings a month, as the content changes",
    "shift": "nats a token: the base's loss on the client's pages minus that on general text",
    "total_parameters": "parameters of the base",
    "trainable_parameters": "what the method trains",
    "learned_bits": "bits that the pages hold for the base",
    "capacity_bits": "bits that the trained parameters can hold",
    "capacity_share": "learned_bits / capacity_bits",
    "rank_needed": "rank at which the two are equal",
    "memory_bytes": "memory that is free for the run",
    "peak_memory_bytes": "memory that the run would take",
    "memory_share": "peak_memory_bytes / memory_bytes",
    "run_seconds": "training time of all clients, one after another",
    "budget_seconds": "time there is for it",
    "budget_share": "run_seconds / budget_seconds",
    "time_ratio": "run_seconds / those of the fastest method",
    "cost_usd": "price of training all clients",
    "budget_usd": "money there is for it",
    "usd_share": "cost_usd / budget_usd",
    "stored_bytes": "what one version of every client takes on disk",
    "forgetting": "nats a token lost on general text, in comparisons here",
    "ran_out_of_memory": "whether it did in the newest comparison here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a method would take, predicted or measured; None where it is not known."""

    trainable_parameters: int | None = None
    peak_memory_bytes: int | None = None
    epoch_seconds: float | None = None
    """Of one client's epoch of `Situation.tokens`."""
    cost_usd: float | None = None
    """Of one client's run."""
    artifact_bytes: int | None = None
    lora_r: int = PLANNED_RANK
    """The rank that it is for, where the method has one."""

    @staticmethod
    def of(plan: Plan) -> "Forecast":
        """A plan's figures."""
        return Forecast(
            trainable_parameters=plan.trainable_parameters,
            peak_memory_bytes=plan.peak_memory_bytes,
            epoch_seconds=plan.epoch_seconds,
            cost_usd=plan.cost_usd,
            artifact_bytes=plan.artifact_bytes,
            lora_r=int(plan.settings.get("lora_r", PLANNED_RANK)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that a method is chosen from. None is not known, and decides nothing."""

    pages: int
    """Training pages; of several clients, the largest one's."""
    tokens: int
    """Tokens of one epoch over them."""
    names: tuple[str, ...] = ()
    """The clients that are trained; their own comparisons count most."""
    base: str = ""
    """Name of the base."""
    clients: int = 1
    """Clients that one base is to serve, those not trained now included."""
    updates_month: float | None = None
    epochs: float = 3.0
    batch_tokens: int = 1024
    memory_bytes: int | None = None
    """Free for the run, runtime included."""
    budget_seconds: float | None = None
    budget_usd: float | None = None
    latency: Latency = "any"
    purpose: Purpose = "client"
    base_loss: float | None = None
    """Nats a token of the untuned base on the client's held-out pages."""
    general_loss: float | None = None
    """The same on general text."""
    total_parameters: int | None = None
    candidates: tuple[str, ...] = tuple(METHODS)
    forecasts: Mapping[str, Forecast] = field(default_factory=dict[str, Forecast])
    comparisons: tuple[Comparison, ...] = ()
    """Of this workspace, in any order."""

    def forecast(self, method: str) -> Forecast:
        """The method's, or one that knows nothing."""
        return self.forecasts.get(method, Forecast())


def facts_of(situation: Situation, method: str, lora_r: int | None = None) -> dict[str, Fact]:
    """Every fact of `FACTS` for one method.

    Args:
        situation: what is known.
        method: one of `models.METHODS`.
        lora_r: the rank that is thought of, where it is another than the forecast's. Parameters of
            low-rank methods are in proportion to it.
    """
    kind, forecast = find_method(method), situation.forecast(method)
    trainable = forecast.trainable_parameters
    rank = lora_r if lora_r is not None else forecast.lora_r
    if trainable is not None and lora_r is not None:
        trainable = trainable * lora_r // forecast.lora_r
    learned = situation.tokens * _bits_a_token(situation)
    capacity = None if trainable is None else BITS_A_PARAMETER * trainable
    seconds = _run_seconds(situation, method)
    cost = None if forecast.cost_usd is None else forecast.cost_usd * len(situation.names or "1")
    fullness = _ratio(learned, capacity)
    return {
        "method": method,
        "leaves": kind.leaves,
        "merges": kind.merges,
        "vllm": "vllm" in kind.engines,
        "purpose": situation.purpose,
        "latency": situation.latency,
        "pages": situation.pages,
        "tokens": situation.tokens,
        "batch_pages": _ratio(situation.batch_tokens * situation.pages, situation.tokens),
        "clients": situation.clients,
        "updates_month": situation.updates_month,
        "shift": _difference(situation.base_loss, situation.general_loss),
        "total_parameters": situation.total_parameters,
        "trainable_parameters": trainable,
        "learned_bits": learned,
        "capacity_bits": capacity,
        "capacity_share": fullness,
        "rank_needed": None if fullness is None else math.ceil(fullness * rank),
        "memory_bytes": situation.memory_bytes,
        "peak_memory_bytes": forecast.peak_memory_bytes,
        "memory_share": _ratio(forecast.peak_memory_bytes, situation.memory_bytes),
        "run_seconds": seconds,
        "budget_seconds": situation.budget_seconds,
        "budget_share": _ratio(seconds, situation.budget_seconds),
        "time_ratio": _ratio(seconds, _least_seconds(situation)),
        "cost_usd": cost,
        "budget_usd": situation.budget_usd,
        "usd_share": _ratio(cost, situation.budget_usd),
        "stored_bytes": None
        if forecast.artifact_bytes is None
        else forecast.artifact_bytes * situation.clients,
        "forgetting": _forgetting(situation.comparisons, situation.base, method),
        "ran_out_of_memory": _ran_out(situation.comparisons, situation.base, method),
    }


def _bits_a_token(situation: Situation) -> float:
    """What there is to learn at most: the base's surprise, nats into bits."""
    return BITS_A_TOKEN if situation.base_loss is None else situation.base_loss / math.log(2)


def _run_seconds(situation: Situation, method: str) -> float | None:
    epoch = situation.forecast(method).epoch_seconds
    return None if epoch is None else epoch * situation.epochs * max(1, len(situation.names))


def _least_seconds(situation: Situation) -> float | None:
    known = [_run_seconds(situation, method) for method in situation.candidates]
    return min((seconds for seconds in known if seconds), default=None)


def _forgetting(comparisons: Sequence[Comparison], base: str, method: str) -> float | None:
    found = [
        row.forgetting
        for comparison in comparisons
        if comparison.base == base
        for row in comparison.rows
        if row.method == method and row.status == "done" and row.forgetting is not None
    ]
    return sum(found) / len(found) if found else None


def _ran_out(comparisons: Sequence[Comparison], base: str, method: str) -> bool | None:
    """Of the newest comparison over this base that tried the method."""
    tried = sorted(
        (comparison.created, row.status == "out_of_memory")
        for comparison in comparisons
        if comparison.base == base
        for row in comparison.rows
        if row.method == method
    )
    return tried[-1][1] if tried else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
