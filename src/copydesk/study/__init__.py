"""Which tuning method earns its cost, measured on held-out pages.

Reads: clients' examples, other clients' held-out examples, a base, cells that were measured before.
Writes: into the run folders it is given, and cells onto the shelf it is given. Does not know: the
catalogue, how a comparison is shown.
"""

from copydesk.study._cells import CellShelf
from copydesk.study._compare import compare
from copydesk.study._prompted import prompted_chat
from copydesk.study._qualitative import THRESHOLDS, Judgement, Threshold, qualitative
from copydesk.study._question import Question, Subject, Trained
from copydesk.study._verdict import verdict

__all__ = [
    "THRESHOLDS",
    "CellShelf",
    "Judgement",
    "Question",
    "Subject",
    "Threshold",
    "Trained",
    "compare",
    "prompted_chat",
    "qualitative",
    "verdict",
]
