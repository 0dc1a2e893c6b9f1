"""How much an engine takes on."""

from dataclasses import dataclass
from typing import Literal

from copydesk.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Limits of an engine: every queue and cache has one."""

    max_running: int = 16
    """Texts that are written at once."""
    max_waiting: int = 256
    """Requests that wait; one more is `Busy`."""
    max_length: int | None = None
    """Positions of a text, prompt and answer; None is the base's window, at most 4,096. Memory for
    keys and values of `max_running` such texts is the most that is ever used."""
    prefill_tokens: int = 256
    """Tokens of prompts that are run in one step, beside the texts that are being written."""
    prefix_cache_bytes: int = 256 << 20
    """Keys and values of prompts' beginnings that are kept; 0 keeps none."""
    max_adapters: int = 64
    """Adapters in memory; at least `max_running`."""
    merged_copies: int = 0
    """Copies of the base's layers with an adapter merged in, for clients that have the engine to
    themselves; each takes as much memory as the layers. 0: an answer does not depend, to the last
    bit, on what was asked before."""
    quantise: Literal["int8", "int4"] | None = None
    """Hold the base's linear layers in 8 or 4 bits; None in the format that it was loaded in."""
    handwritten: bool = True
    """Use the hand-written forward where it gives the model's own logits; False never does."""
    kernels: bool = True
    """Compile and use the engine's own kernels, for bfloat16 on a CPU with a C++ compiler."""
    max_stop: int = 16
    """Stop strings of a request."""
    threads: int | None = None
    """Of the engine's products on a CPU; None leaves torch's own number."""

    def __post_init__(self) -> None:
        least = {
            "max_running": self.max_running,
            "max_waiting": self.max_waiting,
            "max_length": 16 if self.max_length is None else self.max_length,
            "prefill_tokens": self.prefill_tokens,
            "threads": 1 if self.threads is None else self.threads,
        }
        if small := [name for name, value in least.items() if value < 1]:
            raise InvalidInput(f"{small[0]} must be at least 1", where=small[0])
        if self.merged_copies < 0:
            raise InvalidInput("merged_copies must be at least 0", where="merged_copies")
        if self.merged_copies and self.quantise is not None:
            raise InvalidInput(
                "An adapter is not merged into quantised weights: it would be rounded away",
                where="merged_copies",
                todo="Leave out one of merged_copies and quantise.",
            )
        if self.max_adapters < self.max_running:
            raise InvalidInput(
                f"max_adapters={self.max_adapters} is below max_running={self.max_running}: each "
                "text may have an adapter of its own",
                where="max_adapters",
                todo="Raise it, or lower max_running.",
            )
