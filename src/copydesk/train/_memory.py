"""Peak memory of a stretch of work."""

import contextlib
import threading
from collections.abc import Generator
from pathlib import Path

import psutil
import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class PeakMemory:
    """Highest memory while `watching()`: the device's on CUDA, else the process's resident memory.

    On Linux the kernel keeps the high-water mark, and it is set back at the start. Elsewhere the
    resident size is sampled every 20 ms, which can miss a shorter peak.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes = 0

    @contextlib.contextmanager
    def watching(self) -> Generator["PeakMemory"]:
        """Watch for the length of the block; `bytes` holds the peak afterwards."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            yield self
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        elif _reset_high_water_mark():
            yield self
            self.bytes = _high_water_mark()
        else:
            yield from self._sampling()

    def so_far(self) -> int:
        """The peak until now, while watching."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return max(self.bytes, _high_water_mark())

    def _sampling(self) -> Generator["PeakMemory"]:
        process = psutil.Process()
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(0.02):
                self.bytes = max(self.bytes, process.memory_info().rss)

        self.bytes = process.memory_info().rss
        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()


def _reset_high_water_mark() -> bool:
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return _STATUS.exists()


def _high_water_mark() -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
