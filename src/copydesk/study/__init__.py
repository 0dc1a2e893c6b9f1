"""Which tuning method earns its cost: measured on held-out pages, and chosen by rules with sources.

Reads: a client's examples, other clients' held-out examples, a base; rules. Writes: only into the
run folders it is given. Does not know: the catalogue, how a comparison or a choice is shown.
"""

from copydesk.study._choose import choose
from copydesk.study._compare import Question, Trained, compare
from copydesk.study._evidence import measured_forecasts
from copydesk.study._prompted import prompted_chat
from copydesk.study._rules import Rules, read_rules
from copydesk.study._situation import FACTS, Forecast, Latency, Purpose, Situation
from copydesk.study._verdict import verdict

__all__ = [
    "FACTS",
    "Forecast",
    "Latency",
    "Purpose",
    "Question",
    "Rules",
    "Situation",
    "Trained",
    "choose",
    "compare",
    "measured_forecasts",
    "prompted_chat",
    "read_rules",
    "verdict",
]
