"""Versions: which tuned models a client has, which one speaks for it, and what it had to meet.

A version is `client@n`. Without a number the one that speaks is meant. Gates are names, measured
values and thresholds; promotions, rollbacks and canaries are single transactions with a history.
Reads and writes: the catalogue and the artifacts' manifests. Does not know: how a score is
computed, how a model is loaded, where requests come from.
"""

from copydesk.registry._bound import evidence
from copydesk.registry._canary import (
    Canary,
    CanaryRules,
    Outcomes,
    outcomes,
    report_outcome,
    running_canary,
)
from copydesk.registry._evaluations import (
    Evaluation,
    GateResult,
    evaluations,
    newest_evaluation,
    record_evaluation,
)
from copydesk.registry._history import Promotion, history
from copydesk.registry._live import (
    adapter_ref,
    find_version,
    live_version,
    promoted_number,
    version_for,
)
from copydesk.registry._promotion import Standard, promote, rollback
from copydesk.registry._versions import Version, add_version, versions

__all__ = [
    "Canary",
    "CanaryRules",
    "Evaluation",
    "GateResult",
    "Outcomes",
    "Promotion",
    "Standard",
    "Version",
    "adapter_ref",
    "add_version",
    "evaluations",
    "evidence",
    "find_version",
    "history",
    "live_version",
    "newest_evaluation",
    "outcomes",
    "promote",
    "promoted_number",
    "record_evaluation",
    "report_outcome",
    "rollback",
    "running_canary",
    "version_for",
    "versions",
]
