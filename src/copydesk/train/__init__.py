"""The one loop: any method's parameters, packed batches, exact resume.

Reads: a model under a method and encoded examples. Writes: checkpoints and a log of metrics into
the run's folder. Does not know: clients' files, workspaces, HTTP, which method it runs.
"""

from copydesk.train._loop import TrainResult, train
from copydesk.train._memory import PeakMemory
from copydesk.train._settings import RunSettings, make_settings, settings_record
from copydesk.train._tune import Recipe, Tuning, tune

__all__ = [
    "PeakMemory",
    "Recipe",
    "RunSettings",
    "TrainResult",
    "Tuning",
    "make_settings",
    "settings_record",
    "train",
    "tune",
]
