"""Which tuning method earns its cost, measured on held-out pages.

Reads: a client's examples, other clients' held-out examples, a base. Writes: only into the run
folders it is given. Does not know: the catalogue, how a comparison is shown.
"""

from copydesk.study._compare import Question, Trained, compare
from copydesk.study._prompted import prompted_chat
from copydesk.study._verdict import verdict

__all__ = [
    "Question",
    "Trained",
    "compare",
    "prompted_chat",
    "verdict",
]
