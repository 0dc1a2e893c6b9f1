"""Whether a run fits into memory: what it needs, what there is, and what would fit.

Weights lie in memory already when a run is judged. It will add gradients, the optimiser's state,
one chunk of logits, and activations in proportion to the tokens run at once. Activations are
measured, by two short forward passes under which autograd reports what it keeps; this holds for any
architecture and method. The backward pass adds its own, which is `BACKWARD`.
"""

import contextlib
import errno
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from copydesk.errors import OutOfMemory
from copydesk.models import Encoded, Tuned, kept_bytes, pack
from copydesk.train._optimizers import optimizer_bytes
from copydesk.train._settings import RunSettings

_AT_ONCE = {"cpu": (896, 1536), "cuda": (16_384, 16_384)}
"""At least, where a step has so many, and at most."""
LEAST_TOKENS = 64
"""Micro-batches are not made smaller than this; a longer example is still run whole."""
BACKWARD = 1.5
"""Peak of forward and backward over what the forward keeps. With it, the whole need on SmolLM2-135M
in float32 came to 1.00 of what was measured for LoRA at 512 tokens, and to 1.08 for full at 256."""
_LOGITS = 2
"""Float32 copies of a chunk's logits alive at once: the logits, which become their gradient, and at
most one more of the head's number format, or of logits before they were capped."""
_PROBES = (16, 48)
"""Tokens of the two measuring passes."""
_REFUSED = re.compile(
    r"can't allocate memory|not enough memory|cannot allocate memory|out of memory|bad_alloc",
    re.IGNORECASE,
)
_WANTED = re.compile(r"tried to allocate (\d+) bytes", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes that training adds to the loaded model."""

    gradients: int
    optimizer: int
    logits: int
    token: float
    """Activations of a token of a micro-batch."""

    @property
    def fixed(self) -> int:
        """What is needed whatever the micro-batch."""
        return self.gradients + self.optimizer + self.logits

    def at(self, tokens: int) -> int:
        """Bytes with this many tokens run at once."""
        return self.fixed + round(self.token * tokens)

    def tokens_in(self, room: int) -> int:
        """Tokens that can be run at once in so many bytes, in steps of 16; 0 for none."""
        return max(0, int((room - self.fixed) / self.token)) // 16 * 16


def measure_need(
    tuned: Tuned, examples: Sequence[Encoded], run: RunSettings, *, token: float | None = None
) -> Need:
    """What training this model on these examples will add to the memory in use.

    Call it before the first step: gradients and state must not be there yet.

    Args:
        tuned: a base under a method.
        examples: to train on.
        run: the settings.
        token: `Need.token` of a run on this base by the same method and its settings, where one
            was measured; it is not measured again.
    """
    weights = tuned.parameters.values()
    head = tuned.model.get_output_embeddings()
    rows = max(getattr(head, "weight", torch.empty(0, 0)).shape[0], 1)
    return Need(
        gradients=sum(weight.numel() * weight.element_size() for weight in weights),
        optimizer=optimizer_bytes(run.optimizer, tuned.parameters),
        logits=tuned.base.head_chunk * rows * 4 * _LOGITS,
        token=_token_bytes(tuned, examples) * BACKWARD if token is None else token,
    )


def _token_bytes(tuned: Tuned, examples: Sequence[Encoded]) -> float:
    ids = [token for example in examples[:8] for token in example.ids]
    ids *= 1 + _PROBES[1] // len(ids)
    if not tuned.model.training:
        tuned.model.train()
    devices = [tuned.base.device] if tuned.base.device.type == "cuda" else []
    kept: list[int] = []
    with torch.random.fork_rng(devices=devices):
        for tokens in _PROBES:
            probe = Encoded(id="probe", ids=tuple(ids[:tokens]), prompt_length=tokens - 1)
            kept.append(kept_bytes(tuned, pack([probe]).to(tuned.base.device)))
    return max(1.0, (kept[1] - kept[0]) / (_PROBES[1] - _PROBES[0]))


def tokens_at_once(device_type: str, step_tokens: int) -> int:
    """Tokens run at once where they fit: enough to fill a CPU's matrix units; on CUDA enough that
    starting kernels is not most of the time.

    A CPU runs two batches side by side; larger ones are worth it where a step fills two pairs.

    Args:
        device_type: torch's name of the device.
        step_tokens: of an optimiser step.
    """
    least, most = _AT_ONCE.get(device_type, _AT_ONCE["cpu"])
    return min(most, max(least, step_tokens // 2))


def micro_tokens(need: Need, preferred: int, longest: int, room: int) -> int:
    """Tokens to run at once: `preferred`, or halves of it where those do not fit.

    Args:
        need: of the run.
        preferred: from `tokens_at_once`.
        longest: tokens of the longest example, which is never cut here.
        room: bytes that are free.

    Raises:
        OutOfMemory: not even the longest example alone fits; names the length that would.
    """
    if need.at(longest) > room:
        raise too_large(need, longest, room)
    tokens = preferred
    while tokens > max(LEAST_TOKENS, longest) and need.at(tokens) > room:
        tokens = max(LEAST_TOKENS, tokens // 2)
    return tokens


def too_large(need: Need, longest: int, room: int) -> OutOfMemory:
    """The error of a run that cannot fit."""
    fits = need.tokens_in(room)
    parts = (
        f"gradients {_size(need.gradients)}, optimiser {_size(need.optimizer)}, "
        f"logits {_size(need.logits)}, activations {_size(round(need.token * longest))} "
        f"for {longest} tokens"
    )
    return OutOfMemory(
        f"Training needs {_size(need.at(longest))} beside the model ({parts}), "
        f"and {_size(room)} are free",
        todo=f"The largest max_length that fits is {fits}: --set max_length={fits}"
        if fits >= 16
        else "No max_length fits. Use lora or qlora, optimizer=adamw_8bit, or a smaller base.",
    )


def free_bytes(device: torch.device) -> int:
    """Bytes that this process may still take: of the device, or of the machine and its limits.

    On a CPU it is the least of what the system calls available, what the control groups leave
    (both versions), and what the process's address-space limit leaves.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    bounds = [psutil.virtual_memory().available, *_control_groups()]
    process = psutil.Process()
    if hasattr(process, "rlimit"):
        limit, _ = process.rlimit(psutil.RLIMIT_AS)
        if limit != psutil.RLIM_INFINITY:
            bounds.append(limit - process.memory_info().vms)
    return max(0, min(bounds))


def used_bytes(device: torch.device) -> int:
    """Bytes in use: allocated on the device, or the process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return psutil.Process().memory_info().rss


def _control_groups(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What each limiting control group above this process leaves, in bytes."""
    left: list[int] = []
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return left
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names, top = ("memory.max", "memory.current"), root
        elif "memory" in controllers.split(","):
            names, top = ("memory.limit_in_bytes", "memory.usage_in_bytes"), root / "memory"
        else:
            continue
        folder = top / path.strip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(top):
                break
            left += _left(group, *names)
    return left


def _left(group: Path, limit_name: str, used_name: str) -> list[int]:
    try:
        limit = (group / limit_name).read_text(encoding="ascii").strip()
        used = int((group / used_name).read_text(encoding="ascii"))
        stats = (group / "memory.stat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
    if limit == "max":
        return []
    cache = stats[stats.index("inactive_file") + 1] if "inactive_file" in stats else "0"
    return [int(limit) - used + int(cache)]


@contextlib.contextmanager
def memory_errors(doing: str, device: torch.device, todo: str) -> Generator[None]:
    """Turn what the allocators raise into `OutOfMemory`, with what was in use and asked for.

    PyTorch's CPU allocator raises a plain RuntimeError, and a loader may wrap the system's ENOMEM.
    """
    try:
        yield
    except OutOfMemory:
        raise
    except (RuntimeError, MemoryError, OSError) as error:
        told = _refusal(error)
        if told is None:
            raise
        wanted = _WANTED.search(told)
        asked = f" and {_size(int(wanted[1]))} more were asked for" if wanted else ""
        raise OutOfMemory(
            f"{doing} ran out of memory: {_size(used_bytes(device))} were in use{asked}",
            todo=todo,
        ) from error


def _refusal(error: BaseException | None) -> str | None:
    """The text of the allocation that was refused, in an error or its causes; None for others."""
    while error is not None:
        told = str(error)
        if isinstance(error, MemoryError) or _REFUSED.search(told):
            return told
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return told
        error = error.__cause__
    return None


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e8 else f"{count / 1e6:.1f} MB"
