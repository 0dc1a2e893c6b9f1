"""Children that are killed with SIGKILL in the middle of their work, many times a second.

A nursery imports the store once and forks a child for every kill: a fork takes a millisecond, a
fresh interpreter most of a second.
"""

import contextlib
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

_NURSERY = """
import itertools, os, signal, sys, time
from pathlib import Path
from copydesk.store import Catalogue, building, replace_bytes

def work(target, ready):
{work}

for line in sys.stdin:
    seconds, target = line.rstrip("\\n").split(" ", 1)
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(Path(target), lambda: os.write(say, b"."))
        finally:
            os._exit(1)
    os.close(say)
    os.read(hear, 1)  # returns with nothing when the child dies before it is ready
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(hear)
    print(child if os.WIFSIGNALED(status) else "ended by itself", flush=True)
"""


class Nursery:
    """Starts the work on a target, and kills it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def kill_after(self, seconds: float, target: Path) -> int:
        """Kill a child this long after it is ready; returns its process id."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{seconds} {target}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer.isdecimal(), f"the child {answer or 'did not start'}"
        return int(answer)


@contextlib.contextmanager
def nursery(work: str) -> Generator[Nursery]:
    """Take the lines of `work(target, ready)`; it must call `ready` once, and never return."""
    indented = "".join(f"    {line}\n" for line in work.strip().splitlines())
    with subprocess.Popen(
        [sys.executable, "-c", _NURSERY.replace("{work}", indented)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Nursery(process)
