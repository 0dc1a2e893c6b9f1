"""Start an engine: which forward runs a base, and how much it may hold."""

import logging
import sys
from typing import Any

import torch

from copydesk.errors import InvalidInput
from copydesk.models import Base
from copydesk.serve._architecture import Architecture, forget_linears, read_architecture
from copydesk.serve._engine import LocalEngine
from copydesk.serve._generic import GenericRunner
from copydesk.serve._handwritten import HandwrittenRunner
from copydesk.serve._kernels import Kernels, load_kernels
from copydesk.serve._openmp import end_idle_threads
from copydesk.serve._runner import Runner, Stretch
from copydesk.serve._settings import EngineSettings

_LOG = logging.getLogger(__name__)
_LONGEST = 4096
"""Positions of a slot where nothing is said: longer windows cost memory that few texts use."""


def start_engine(base: Base, settings: EngineSettings | None = None) -> LocalEngine:
    """An engine that runs in this process, on a thread of its own.

    Args:
        base: loaded for generation (without packed attention). The engine takes it over: nobody
            else may run it while the engine lives.
        settings: limits and choices; the defaults suit a small machine.

    Raises:
        InvalidInput: a limit makes no sense, or the base cannot be held as is asked.
    """
    settings = settings or EngineSettings()
    runner, kernels = _runner(base, settings)
    engine = LocalEngine(base, runner, settings, kernels)
    if base.device.type == "cpu":
        end_idle_threads()  # the engine's thread has a pool of its own
    engine.start()
    return engine


def _runner(base: Base, settings: EngineSettings) -> tuple[Runner, Kernels | None]:
    """What runs the base, and kernels that were found to compute what torch does."""
    config: Any = base.model.config.get_text_config()
    window = int(getattr(config, "max_position_embeddings", None) or sys.maxsize)
    length = min(window, settings.max_length or _LONGEST)
    shape = read_architecture(base, length + 1) if settings.handwritten else None
    on_cpu = base.device.type == "cpu" and base.dtype == torch.bfloat16
    kernels = load_kernels() if on_cpu and settings.kernels else None
    if shape is not None and kernels is not None and not agrees(base, shape, kernels):
        _LOG.warning("The engine's kernels do not compute what torch does here: it runs without")
        kernels = None
    if shape is not None and kernels is None and not agrees(base, shape):
        _LOG.warning(
            "%s is not what its family's hand-written forward computes: it runs through "
            "transformers, one text after the other",
            base.info.name,
        )
        shape = None
    if shape is None:
        if settings.quantise is not None:
            raise InvalidInput(
                f"{base.info.name} runs through transformers and cannot be held as "
                f"{settings.quantise}",
                where="quantise",
                todo="Leave quantise out.",
            )
        return GenericRunner(base, slots=settings.max_running, length=length), kernels
    shape.quantise(settings.quantise)
    forget_linears(base)
    runner = HandwrittenRunner(
        base, shape, slots=settings.max_running, length=length, kernels=kernels
    )
    return runner, kernels


@torch.inference_mode()
def agrees(base: Base, shape: Architecture, kernels: Kernels | None = None) -> bool:
    """Whether the hand-written forward gives the model's own logits on a short text.

    The text is run as a prompt in two parts and a next token. In float32 rounding differs by some
    1e-6 of the largest logit; in 16 bits by some 1e-2.
    """
    count = 12
    source = torch.Generator().manual_seed(0)
    ids: list[int] = torch.randint(len(shape.embedding), (count,), generator=source).tolist()
    model: Any = base.model
    expected = model(input_ids=torch.tensor([ids], device=base.device), use_cache=False).logits
    trial = HandwrittenRunner(base, shape, slots=2, length=count, kernels=kernels)
    trial.open(1, None)
    found: list[torch.Tensor] = []
    for start, end in ((0, 5), (5, count - 1), (count - 1, count)):
        stretch = Stretch(slot=1, ids=ids[start:end], start=start, wanted=True)
        found.append(trial.run([stretch])[0].float())
    own = expected[0, [4, count - 2, count - 1]].float()
    gap = (torch.stack(found) - own).abs().max() / own.abs().max()
    return bool(gap < (1e-4 if base.dtype == torch.float32 else 5e-2))
