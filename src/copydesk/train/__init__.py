"""The one loop: any method's parameters, packed batches, exact resume; and many runs in one pass.

Reads: a model under a method, encoded examples, recipe files. Writes: checkpoints and a log of
metrics into the run's folder, and to trackers where they are asked for. Does not know: clients'
files, workspaces, HTTP, which method it runs.
"""

from copydesk.train._capacity import LEAST_TOKENS, free_bytes, tokens_at_once, used_bytes
from copydesk.train._checkpoint import clear_run
from copydesk.train._loop import train
from copydesk.train._memory import PeakMemory
from copydesk.train._metrics import MetricSink, TrackerName, check_trackers
from copydesk.train._optimizers import optimizer_bytes
from copydesk.train._pass import PassRun, can_join, tune_together
from copydesk.train._plan import plan_steps
from copydesk.train._recipes import read_recipe, recipe_method
from copydesk.train._session import TrainResult
from copydesk.train._settings import RunSettings, make_settings, settings_record
from copydesk.train._tune import Recipe, Tuning, check_recipe, tune

__all__ = [
    "LEAST_TOKENS",
    "MetricSink",
    "PassRun",
    "PeakMemory",
    "Recipe",
    "RunSettings",
    "TrackerName",
    "TrainResult",
    "Tuning",
    "can_join",
    "check_recipe",
    "check_trackers",
    "clear_run",
    "free_bytes",
    "make_settings",
    "optimizer_bytes",
    "plan_steps",
    "read_recipe",
    "recipe_method",
    "settings_record",
    "tokens_at_once",
    "train",
    "tune",
    "tune_together",
    "used_bytes",
]
