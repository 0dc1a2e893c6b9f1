"""What a caller says when a method is to be chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from copydesk.records import Latency, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a choice has to regard beside the workspace; what is None is read from it."""

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """To be set: only methods that have all of it are candidates."""
    methods: tuple[str, ...] | None = None
    """Candidates; None is all methods."""
    memory: int | None = None
    """Bytes that the run may take; None is what is free, or what the hardware has."""
    budget_seconds: float | None = None
    """For training all the clients that are asked about, one after another."""
    budget_usd: float | None = None
    latency: Latency = "any"
    updates_month: float | None = None
    """Trainings a month; None is as often as pages were curated in the last three months."""
    purpose: Purpose = "client"
    hardware: str | None = None
    """What runs are predicted for, see `plan`; None is not to predict, but to read comparisons."""
