"""Time of a run on a device, from the trace of the loop and the device's card.

Every operation takes as long as its products need at the device's rate, or its bytes at the
memory's bandwidth, whichever is longer (the roofline of Williams et al. 2009); thin matrices, as
LoRA's, fall under the latter. To that comes a constant for each operation on a CPU. On a GPU
operations are launched ahead, so that an operation takes at least that constant.
"""

from collections.abc import Mapping

from copydesk.study._hardware import Hardware, Machine
from copydesk.study._memory_model import Fixed
from copydesk.study._trace import Operation, Trace

_STEP_READS = 6
"""Times a step reads or writes numbers of a trained weight's size, beside the optimiser's state:
the gradient for its norm, its clipping (two) and the step; the weight (two)."""


def work_seconds(work: Mapping[Operation, float], device: Hardware) -> float:
    """Seconds of the operations on one device."""
    total = 0.0
    for operation, times in work.items():
        products = operation.flops / device.rate(operation.dtype)
        kernel = max(products, operation.bytes / device.memory_bandwidth)
        if device.kind == "cuda":
            total += times * max(kernel, device.operation_seconds)
        else:
            total += times * (kernel + device.operation_seconds)
    return total


def step_seconds(fixed: Fixed, machine: Machine) -> float:
    """Seconds of an optimiser step, clipping included; devices step their own parts."""
    moved = 2 * fixed.optimizer + _STEP_READS * fixed.trained
    return moved / machine.count / machine.device.memory_bandwidth


def epoch_seconds(
    trace: Trace, fixed: Fixed, machine: Machine, *, tokens: int, batch_tokens: int
) -> float:
    """Seconds of training on so many tokens; loading, scoring and checkpoints are left out.

    Each device takes micro-batches of its own. Devices gather weights for the forward and the
    backward pass and sum gradients while they compute; the longer of the two counts.

    Args:
        trace: of a micro-batch.
        fixed: of the run.
        machine: which devices.
        tokens: of the epoch.
        batch_tokens: of an optimiser step, on all devices together.
    """
    micro = work_seconds(trace.work, machine.device)
    link = machine.device.interconnect
    if machine.count > 1 and link is not None:
        others = (machine.count - 1) / machine.count
        sent = others * (2 * fixed.weights + fixed.trained)
        micro = max(micro, sent / link.bandwidth)
    at_once = trace.tokens * machine.count
    steps = tokens / max(batch_tokens, at_once)
    return tokens / at_once * micro + steps * step_seconds(fixed, machine)
