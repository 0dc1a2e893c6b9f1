"""Generation: a base that continues texts, for many clients at once or for one.

Reads: a loaded base and adapters' folders. Writes: kernels that it compiled, into the user's cache.
Does not know: HTTP, keys, clients' texts, what a brief is.

Shape letters in tensor names: R rows of a step, T positions of a slot, D hidden width, O outputs of
a layer, V vocabulary, H heads, K width of a head, L layers, S slots.
"""

from copydesk.serve._engine import LocalEngine
from copydesk.serve._proof import engine_difference
from copydesk.serve._settings import EngineSettings
from copydesk.serve._start import start_engine
from copydesk.serve._writer import Writer

__all__ = ["EngineSettings", "LocalEngine", "Writer", "engine_difference", "start_engine"]
"""Many texts at once: `start_engine`; one chat at a time, streamed: `Writer`; whether an engine
says of an adapter what PEFT says: `engine_difference`."""
