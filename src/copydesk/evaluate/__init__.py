"""Scores, with intervals: held-out loss, share of full fine-tuning's gain, forgetting.

Reads: a model under a method, encoded examples, the general texts and the instruction tasks shipped
with this room. Does not know: how a model was trained, clients, files of a workspace.
"""

from copydesk.evaluate._general import general_chats, general_digest
from copydesk.evaluate._instructions import (
    InstructionTask,
    follows,
    instruction_answers,
    instruction_digest,
    instruction_tasks,
    instructions_followed,
)
from copydesk.evaluate._intervals import (
    Interval,
    loss_difference,
    mean_loss,
    mean_loss_interval,
)
from copydesk.evaluate._pooled import (
    RunLosses,
    gain_share,
    pooled_interval,
    pooled_mean,
    run_losses,
)
from copydesk.evaluate._score import score

__all__ = [
    "InstructionTask",
    "Interval",
    "RunLosses",
    "follows",
    "gain_share",
    "general_chats",
    "general_digest",
    "instruction_answers",
    "instruction_digest",
    "instruction_tasks",
    "instructions_followed",
    "loss_difference",
    "mean_loss",
    "mean_loss_interval",
    "pooled_interval",
    "pooled_mean",
    "run_losses",
    "score",
]
