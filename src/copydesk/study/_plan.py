"""A run's size, time and cost, predicted before it is run.

    settings -> trace of a micro-batch -> memory by part, time, what fits

Micro-batches are chosen as the loop chooses them: `tokens_at_once`, halved until they fit, and the
longest example whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from copydesk.models import Method, MethodSettings, find_method, head_chunk
from copydesk.records import MemoryParts, Plan
from copydesk.study._hardware import Machine, find_machine, hardware_names
from copydesk.study._memory_model import Fixed, fixed_bytes, memory_parts
from copydesk.study._shapes import Architecture
from copydesk.study._time_model import epoch_seconds
from copydesk.study._trace import Held, Trace, trace_micro
from copydesk.train import LEAST_TOKENS, RunSettings, make_settings, settings_record, tokens_at_once

EPOCH_TOKENS = 1_000_000
"""Of an epoch, where nothing is said: some 1,500 pages of 500 words."""
ANSWER_SHARE = 0.9
"""Tokens that carry loss: a page's brief is short beside the page."""
_COUNTS = (1, 2, 4, 8, 16)
"""Of devices, when one is sought that holds the run."""
_WORTH = 0.2
"""Share of the weights that 4 bits must save to be advised."""
_STEP = 16
"""Largest batches are told in steps of so many tokens."""
_MOST_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """All that the figures of a run follow from, on any machine of one kind."""

    architecture: Architecture
    method: Method
    run: RunSettings
    own: MethodSettings
    dtype: torch.dtype
    fixed: Fixed
    trace: Trace
    """Of the micro-batch that the loop prefers."""
    smaller: Trace
    """Of about half of it: together they tell what a token adds."""
    full_chunk: float
    """Tokens whose answers fill a chunk of logits."""

    @property
    def converts(self) -> bool:
        """The base's files must be converted as they are loaded."""
        stored = str(self.dtype).removeprefix("torch.")
        quantised = self.method.quantisation(self.own) is not None
        return quantised or stored != self.architecture.stored_dtype

    def held(self, tokens: int) -> Held:
        """At the peak, with so many tokens run at once; on the line through the two traces."""
        between = self.trace.tokens - self.smaller.tokens
        share = (tokens - self.smaller.tokens) / between if between else 0.0
        line = self.smaller.peak.along(self.trace.peak, share)
        # Logits grow with the tokens until they fill a chunk.
        most = self.trace.peak.logits * max(1.0, self.full_chunk / self.trace.tokens)
        return replace(line, logits=min(line.logits, most))

    def memory(self, tokens: int, machine: Machine) -> MemoryParts:
        """With so many tokens run at once on each device."""
        return memory_parts(self.fixed, self.held(tokens), machine, converts=self.converts)

    def largest(self, machine: Machine) -> int | None:
        """The most tokens that can be run at once; None where not one example can."""
        low, high = self.smallest, _MOST_TOKENS
        if self.memory(low, machine).total > machine.device.memory_bytes:
            return None
        while high - low > _STEP:
            middle = (low + high) // 2
            if self.memory(middle, machine).total > machine.device.memory_bytes:
                high = middle
            else:
                low = middle
        return max(self.smallest, low // _STEP * _STEP)

    @property
    def smallest(self) -> int:
        """Tokens of the smallest micro-batch; the longest example is never cut."""
        return min(self.trace.tokens, max(LEAST_TOKENS, self.run.max_length))

    def chosen(self, machine: Machine) -> int:
        """Tokens that the loop would run at once."""
        tokens = self.trace.tokens
        while tokens > self.smallest and (
            self.memory(tokens, machine).total > machine.device.memory_bytes
        ):
            tokens //= 2
        return max(tokens, self.smallest)


def size_run(
    architecture: Architecture,
    method: str,
    machine: Machine,
    settings: Mapping[str, Any],
    *,
    answer_share: float = ANSWER_SHARE,
) -> Sizes:
    """Count and trace a run whose examples are all `max_length` long.

    Args:
        architecture: of the base.
        method: a method's name.
        machine: its kind decides the number format where the settings leave it to the machine.
        settings: as `--set` gives them.
        answer_share: part of an example's tokens that carries loss.

    Raises:
        UnknownName: no such method.
        InvalidInput: settings, architecture or method do not go together.
    """
    found = find_method(method)
    run, own = make_settings(method, settings)
    dtype = _dtype(found, run.dtype, machine)
    preferred = max(tokens_at_once(machine.device.kind, run.batch_tokens), run.max_length)
    length = min(run.max_length, max(run.batch_tokens, 16))
    on_cpu = machine.device.kind == "cpu"
    # Adapters run batches of half the tokens on a CPU, two side by side where it has the threads;
    # see models/_side_by_side.
    lanes = 2 if on_cpu and found.leaves == "adapter" and length <= preferred // 2 else 1
    beside = 1 if machine.device.threads == 1 else lanes
    packed = beside * (preferred // lanes // length)
    lengths = [length] * max(1, min(packed, run.batch_tokens // length))
    half = lengths[: len(lengths) // 2] or [max(16, length // 2)]
    examples = max(1, run.batch_tokens // length)

    def traced(of: Sequence[int], accumulates: bool) -> Trace:
        return trace_micro(
            architecture.config,
            method,
            own,
            dtype=dtype,
            lengths=of,
            answer_share=answer_share,
            accumulates=accumulates,
            on_cpu=on_cpu,
        )

    again = examples >= 2 * len(lengths)
    trace = traced(lengths, again)
    rest = examples - len(lengths)
    if rest > 0 and not again:  # a smaller micro-batch finds the gradients of a whole one
        last = traced(lengths[:rest], True)
        if last.peak.total > trace.peak.total:
            trace = replace(trace, peak=last.peak)
    return Sizes(
        architecture=architecture,
        method=found,
        run=run,
        own=own,
        dtype=dtype,
        fixed=fixed_bytes(
            architecture,
            trace.trained,
            run,
            dtype=dtype,
            whole=found.leaves == "base",
            quantisation=found.quantisation(own),
        ),
        trace=trace,
        smaller=traced(half, again),
        full_chunk=head_chunk(machine.device.kind) / answer_share,
    )


def _dtype(method: Method, wanted: str, machine: Machine) -> torch.dtype:
    """The number format of the base's weights, as the loop picks it on such a device."""
    if wanted == "auto":
        rates = machine.device.dense_flops
        faster = rates.bfloat16 is not None and rates.bfloat16 > 1.2 * rates.float32
        wanted = "bfloat16" if faster and method.leaves == "adapter" else "float32"
    return method.dtype(wanted, torch.device("cpu"))


def plan(
    architecture: Architecture,
    method: str,
    machine: Machine,
    *,
    settings: Mapping[str, Any] | None = None,
    epoch_tokens: int = EPOCH_TOKENS,
    folders: Sequence[Path] = (),
) -> Plan:
    """Predict a run.

    Args:
        architecture: of the base, from `find_architecture`.
        method: a method's name.
        machine: from `find_machine` or `this_machine`.
        settings: as `--set` gives them; examples are taken to be `max_length` long.
        epoch_tokens: prompt and answer tokens of one epoch.
        folders: the user's own hardware cards, for the advice where it does not fit.

    Raises:
        UnknownName: no such method.
        InvalidInput: settings, architecture or method do not go together.
    """
    sizes = size_run(architecture, method, machine, settings or {})
    tokens = sizes.chosen(machine)
    parts = sizes.memory(tokens, machine)
    run = sizes.run
    seconds = epoch_seconds(
        sizes.trace,
        sizes.fixed,
        machine,
        tokens=epoch_tokens,
        batch_tokens=run.batch_tokens,
    )
    fits = parts.total <= machine.device.memory_bytes
    trained = sum(_size(shape) * count for shape, count in sizes.trace.trained.items())
    stated = {key: str(value) for key, value in settings_record(run, sizes.own).items()}
    return Plan(
        model=architecture.name,
        method=method,
        hardware=machine.name,
        settings=stated,
        total_parameters=architecture.total_parameters,
        trainable_parameters=trained,
        memory=parts,
        peak_memory_bytes=parts.total,
        device_memory_bytes=machine.device.memory_bytes,
        fits=fits,
        epoch_tokens=epoch_tokens,
        epoch_seconds=seconds,
        cost_usd=_cost(machine, seconds * _epochs(run, epoch_tokens)),
        artifact_bytes=sizes.fixed.trained,
        checkpoint_bytes=sizes.fixed.trained + sizes.fixed.optimizer,
        largest_batch_tokens=sizes.largest(machine),
        notes=(*_assumptions(sizes, machine, tokens), *_advice(sizes, machine, folders, fits)),
    )


def _size(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def _epochs(run: RunSettings, epoch_tokens: int) -> float:
    if run.max_steps is None:
        return run.epochs
    return min(run.epochs, run.max_steps * run.batch_tokens / epoch_tokens)


def _cost(machine: Machine, seconds: float) -> float | None:
    return None if machine.hourly_usd is None else machine.hourly_usd * seconds / 3600


def _assumptions(sizes: Sizes, machine: Machine, tokens: int) -> list[str]:
    """What the figures rest on."""
    word = str(sizes.dtype).removeprefix("torch.")
    notes = [
        f"Base in {word}; {tokens} tokens run at once, in examples of up to "
        f"{sizes.run.max_length} tokens of which {ANSWER_SHARE:.0%} carry loss.",
    ]
    price = machine.device.price
    if price is not None:
        notes.append(
            f"Price ${price.hourly_usd:.2f} an hour and device, {price.date}: {price.source}."
        )
    if machine.count > 1:
        notes.append(
            "Weights, gradients and optimiser state are divided among the devices as PyTorch's "
            f"FSDP does it, and each runs its own micro-batch, so a step takes at least "
            f"{tokens * machine.count} tokens. Copydesk's own loop runs on one device."
        )
    if machine.device.kind == "cuda":
        notes.append(
            f"GPU figures are computed, not measured here: {machine.device.efficiency:.0%} of the "
            "dense rate, and 0.6 GB for the runtime."
        )
    experts = sizes.architecture.expert_parameters
    if experts and sizes.method.name in {"lora", "qlora"}:
        notes.append(
            "Where PEFT adapts stacked weights of experts, it folds the adapter into a copy of "
            "them for each pass; the copies count among the activations."
        )
    if experts and sizes.method.quantisation(sizes.own) is not None:
        notes.append(
            f"The {experts / 1e9:.1f} billion parameters of the experts stay in {word}: "
            "bitsandbytes quantises linear layers alone."
        )
    return notes


def _advice(sizes: Sizes, machine: Machine, folders: Sequence[Path], fits: bool) -> list[str]:
    """What to change where the run does not fit."""
    if fits:
        return []
    least = sizes.memory(sizes.smallest, machine).total
    room = machine.device.memory_bytes
    notes = [f"It does not fit: {least / 1e9:.1f} GB are needed, a device has {room / 1e9:.0f} GB."]
    fixed = sizes.memory(LEAST_TOKENS, machine).total
    if fixed <= room:
        notes.append("Shorter examples would fit: set max_length lower.")
    if sizes.method.name in {"full", "lora", "dora"}:
        linear = sizes.architecture.linear_parameters
        size = sizes.dtype.itemsize
        saved = linear * (size - 4.13 / 8)
        if saved > _WORTH * sizes.fixed.weights:
            notes.append(f"QLoRA would hold the base in {saved / 1e9:.0f} GB less: method qlora.")
    found = _cheapest(sizes, folders)
    if found is not None:
        notes.append(f"It would fit on {found}.")
    return notes


def _cheapest(sizes: Sizes, folders: Sequence[Path]) -> str | None:
    """The cheapest machine an hour, of at most 16 devices, on which the run fits."""
    best: tuple[float, int, str] | None = None
    for name in hardware_names(folders):
        for count in _COUNTS:
            machine = find_machine(f"{name}x{count}" if count > 1 else name, folders=folders)
            if machine.device.kind != "cuda" or machine.hourly_usd is None:
                break
            tokens = sizes.smallest
            if sizes.memory(tokens, machine).total <= machine.device.memory_bytes:
                candidate = (machine.hourly_usd, count, machine.name)
                best = min(best, candidate) if best else candidate
                break
    return None if best is None else f"{best[2]} (${best[0]:.2f} an hour)"
