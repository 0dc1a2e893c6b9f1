"""torch's OpenMP library: the one pool of threads that products and kernels share."""

import ctypes
from typing import Any

import torch

from copydesk.native import openmp_library

_SOFT = 1
"""`omp_pause_soft` of OpenMP 5.0: threads end, settings stay."""


def end_idle_threads() -> None:
    """End the pool of threads of the thread that calls; it is made again when it is needed.

    Each thread that has run a product keeps a pool. When all pools together have more threads than
    the machine has cores, GNU's library lets threads sleep between products instead of spinning
    for some microseconds, and waking them takes longer than many a product does: on two cores the
    engine's steps took 30 ms instead of 18 after the base had been loaded on another thread.
    """
    pause = _function("omp_pause_resource_all")
    if pause is not None:
        pause(_SOFT)


def use_one_thread() -> None:
    """Let the thread that calls run torch by itself alone; other threads stay as they are."""
    torch.get_num_threads()  # torch gives a thread its number at the first look, over any other
    limit = _function("omp_set_num_threads")
    if limit is not None:
        limit(1)


def _function(name: str) -> Any:
    library = openmp_library()
    return None if library is None else getattr(ctypes.CDLL(str(library)), name, None)
