"""Peak memory of a run, by what holds it.

Weights, optimiser state and 4-bit constants are counted from shapes; activations, logits and the
gradients that lie there at the peak come from a trace of the loop. What is left is the runtime and
the allocator, which are constants, fitted on a few runs (`benchmarks/plan_accuracy.py --fit`).

Several devices share weights, gradients and optimiser state as PyTorch's FSDP does it: each holds
its part, and gathers two layers at a time, the one that computes and the one that is next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from copydesk.models import Quantisation, hollow_base, quantisation_tensors
from copydesk.records import MemoryParts
from copydesk.study._hardware import Machine
from copydesk.study._shapes import Architecture
from copydesk.study._trace import META, Held
from copydesk.train import RunSettings, optimizer_bytes

CPU_RUNTIME = 430_000_000
"""Resident memory of the process before the base: Python, torch, transformers, PEFT."""
CPU_ALLOCATOR = 0.52
"""Beside what is alive at the peak, as a share of it: pieces that the C library's allocator has not
given back, and the matrix library's own buffers."""
CUDA_RUNTIME = 600_000_000
"""CUDA's context and the libraries' workspaces on a device. From documentation, not measured."""
CUDA_ALLOCATOR = 0.06
"""The caching allocator's fragments. Not measured."""
_GATHERED_LAYERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Bytes that do not depend on how many tokens run at once, on one device."""

    weights: int
    """Base and adapter."""
    quantisation: int
    optimizer: int
    trained: int
    """Of the weights that are trained."""
    stored: int
    """The base's files; they lie in memory while weights of another format are made from them."""
    layers: int


def fixed_bytes(
    architecture: Architecture,
    trained: Mapping[tuple[int, ...], int],
    run: RunSettings,
    *,
    dtype: torch.dtype,
    whole: bool,
    quantisation: Quantisation | None,
) -> Fixed:
    """Count weights and state of a run.

    Args:
        architecture: of the base.
        trained: shape -> how many tensors of it are trained.
        run: names the optimiser.
        dtype: of the base's weights.
        whole: the base's own weights are trained, in its format; else an adapter's, in float32.
        quantisation: how the base is held.
    """
    base: Any = hollow_base(
        architecture.config, architecture.name, dtype=dtype, quantisation=quantisation
    ).model
    held = sum(t.numel() * t.element_size() for t in (*base.parameters(), *base.buffers()))
    constants = sum(t.numel() * t.element_size() for t in quantisation_tensors(base))
    trained_dtype = dtype if whole else torch.float32
    tensors = {
        f"{shape} {number}": torch.nn.Parameter(
            torch.empty(shape, dtype=trained_dtype, device=META)
        )
        for shape, count in trained.items()
        for number in range(count)
    }
    trained_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    total = architecture.total_parameters
    return Fixed(
        weights=held + (0 if whole else trained_bytes),
        quantisation=constants,
        optimizer=optimizer_bytes(run.optimizer, tensors),
        trained=trained_bytes,
        stored=total * (4 if architecture.stored_dtype == "float32" else 2),
        layers=architecture.num_layers,
    )


def memory_parts(fixed: Fixed, held: Held, machine: Machine, *, converts: bool) -> MemoryParts:
    """Memory of the most loaded device at its peak.

    Args:
        fixed: of the run.
        held: at the peak of a micro-batch on one device.
        machine: kind and count of devices.
        converts: the base's files have another number format than its weights in memory.
    """
    count = machine.count
    gathered = 0
    if count > 1:
        gathered = round(_GATHERED_LAYERS * fixed.weights / fixed.layers)
    parts = {
        "weights": -(-fixed.weights // count),
        "gradients": round(held.gradients / count),
        "optimizer": -(-fixed.optimizer // count),
        "activations": round(held.activations),
        "logits": round(held.logits),
        "quantisation": -(-fixed.quantisation // count),
    }
    if machine.device.kind == "cuda":
        overhead = CUDA_RUNTIME + round(CUDA_ALLOCATOR * held.total) + gathered
    else:
        overhead = CPU_RUNTIME + round(CPU_ALLOCATOR * held.total) + gathered
        # Loading may be the peak of a short run: the files are mapped until all is converted.
        loading = CPU_RUNTIME + parts["weights"] + parts["quantisation"]
        loading += fixed.stored if converts else 0
        overhead = max(overhead, loading - sum(parts.values()))
    return MemoryParts(**parts, overhead=overhead)
