"""Which tuning method earns its cost: predicted before running, measured on held-out pages, and
chosen by rules with sources.

Reads: clients' examples, other clients' held-out examples, a base, cells that were measured before;
for plans, configurations of models, and cards of shapes and hardware (`shapes/`, `hardware/`); for
choices, rules. Writes: into the run folders it is given, cells onto the shelf it is given, and the
measured card of this machine into the cache it is given. Does not know: the catalogue, how a
comparison, a plan or a choice is shown.
"""

from copydesk.study._calibrate import known_machine, this_machine
from copydesk.study._cells import CellShelf
from copydesk.study._choose import choose
from copydesk.study._claims import Cell, ClaimsTable, claims_table
from copydesk.study._compare import compare
from copydesk.study._evidence import measured_forecasts
from copydesk.study._hardware import THIS, Hardware, Machine, find_machine, hardware_names
from copydesk.study._plan import EPOCH_TOKENS, plan
from copydesk.study._prompted import prompted_chat
from copydesk.study._qualitative import THRESHOLDS, Judgement, Threshold, qualitative
from copydesk.study._question import Question, Subject, Trained
from copydesk.study._rules import Rules, read_rules
from copydesk.study._shapes import (
    DEFAULT_MODEL,
    Architecture,
    find_architecture,
    shape_names,
)
from copydesk.study._situation import FACTS, Forecast, Situation
from copydesk.study._verdict import verdict

__all__ = [
    "DEFAULT_MODEL",
    "EPOCH_TOKENS",
    "FACTS",
    "THIS",
    "THRESHOLDS",
    "Architecture",
    "Cell",
    "CellShelf",
    "ClaimsTable",
    "Forecast",
    "Hardware",
    "Judgement",
    "Machine",
    "Question",
    "Rules",
    "Situation",
    "Subject",
    "Threshold",
    "Trained",
    "choose",
    "claims_table",
    "compare",
    "find_architecture",
    "find_machine",
    "hardware_names",
    "known_machine",
    "measured_forecasts",
    "plan",
    "prompted_chat",
    "qualitative",
    "read_rules",
    "shape_names",
    "this_machine",
    "verdict",
]
