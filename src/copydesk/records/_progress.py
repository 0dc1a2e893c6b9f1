"""Events of long work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One event of long work, for whoever draws it."""

    task: str
    """What is being done, e.g. `train acme (lora)`."""
    done: int
    total: int
    unit: str = "steps"
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    """Figures to show beside the bar, e.g. `loss`, `tokens_per_second`."""


Listener = Callable[[Progress], None]
"""Receives the events of long work; must not raise."""


def ignore_progress(_: Progress) -> None:
    """The listener for callers that do not want to know."""
