"""Scores, with intervals: held-out loss, share of full fine-tuning's gain, forgetting.

Reads: a model under a method, encoded examples, the general texts shipped with this room. Does not
know: how a model was trained, clients, files of a workspace.
"""

from copydesk.evaluate._general import general_chats, general_digest
from copydesk.evaluate._intervals import (
    Interval,
    gain_share,
    loss_difference,
    mean_loss,
    mean_loss_interval,
)
from copydesk.evaluate._score import score

__all__ = [
    "Interval",
    "gain_share",
    "general_chats",
    "general_digest",
    "loss_difference",
    "mean_loss",
    "mean_loss_interval",
    "score",
]
