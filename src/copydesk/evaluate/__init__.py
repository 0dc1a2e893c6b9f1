"""Scores, with intervals: held-out loss, share of full's gain, forgetting, voice, memorisation.

Reads: a model under a method, encoded examples, texts, the general texts and the instruction tasks
shipped with this room. Writes: a voice model's two files, into a folder that it is given. Does not
know: how a model was trained, clients, files of a workspace.

Judging a voice needs numpy alone, so that a light command can do it: importing this room imports
neither torch nor scikit-learn. What needs them is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from copydesk.evaluate._calibration import calibration_error, share_interval
from copydesk.evaluate._delta import BurrowsDelta, compression_distance
from copydesk.evaluate._general import general_chats, general_digest
from copydesk.evaluate._intervals import (
    Interval,
    loss_difference,
    mean_difference,
    mean_loss,
    mean_loss_interval,
)
from copydesk.evaluate._masking import cut_words, hiding, mask, prose
from copydesk.evaluate._memorised import (
    Canary,
    Continuer,
    Extraction,
    LeakMatrix,
    Speaker,
    TrainedText,
    extraction,
    leak_matrix,
    make_canaries,
    plant,
)
from copydesk.evaluate._pooled import (
    RunLosses,
    gain_share,
    pooled_interval,
    pooled_mean,
    run_losses,
)
from copydesk.evaluate._voice import (
    LEAST_WORDS,
    VOICE_FORMAT,
    VoiceFeature,
    VoiceModel,
    VoiceScore,
)

if TYPE_CHECKING:
    from copydesk.evaluate._continue import BatchContinuer
    from copydesk.evaluate._instructions import (
        InstructionTask,
        follows,
        instruction_answers,
        instruction_digest,
        instruction_tasks,
        instructions_followed,
    )
    from copydesk.evaluate._score import score
    from copydesk.evaluate._voice_fit import fit_voice

_HEAVY = {
    "BatchContinuer": "copydesk.evaluate._continue",
    **dict.fromkeys(
        (
            "InstructionTask",
            "follows",
            "instruction_answers",
            "instruction_digest",
            "instruction_tasks",
            "instructions_followed",
        ),
        "copydesk.evaluate._instructions",
    ),
    "fit_voice": "copydesk.evaluate._voice_fit",
    "score": "copydesk.evaluate._score",
}

__all__ = [
    "LEAST_WORDS",
    "VOICE_FORMAT",
    "BatchContinuer",
    "BurrowsDelta",
    "Canary",
    "Continuer",
    "Extraction",
    "InstructionTask",
    "Interval",
    "LeakMatrix",
    "RunLosses",
    "Speaker",
    "TrainedText",
    "VoiceFeature",
    "VoiceModel",
    "VoiceScore",
    "calibration_error",
    "compression_distance",
    "cut_words",
    "extraction",
    "fit_voice",
    "follows",
    "gain_share",
    "general_chats",
    "general_digest",
    "hiding",
    "instruction_answers",
    "instruction_digest",
    "instruction_tasks",
    "instructions_followed",
    "leak_matrix",
    "loss_difference",
    "make_canaries",
    "mask",
    "mean_difference",
    "mean_loss",
    "mean_loss_interval",
    "plant",
    "pooled_interval",
    "pooled_mean",
    "prose",
    "run_losses",
    "score",
    "share_interval",
]


def __getattr__(name: str) -> Any:
    """The names that need torch or scikit-learn, imported when they are first used."""
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HEAVY[name]), name)
