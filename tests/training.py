"""Small runs on tiny bases, for the tests of training; and, as a program, runs that go badly.

`python training.py` reads a JSON line a run and forks a child for it. The child kills itself with
SIGKILL at a moment drawn at random (a timer strikes wherever the run then is), or trains in an
address space that is too small.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import save_file

from copydesk.errors import OutOfMemory
from copydesk.models import (
    ATTENTION,
    BaseStore,
    Encoded,
    Tuned,
    encode_example,
    find_method,
    free_memory,
    load_base,
)
from copydesk.records import Message, Progress
from copydesk.train import RunSettings, TrainResult, make_settings, train
from copydesk.train._capacity import measure_need

CPU = torch.device("cpu")
DROPOUT = 0.2


def prepared(folder: Path, method: str, **overrides: Any) -> tuple[Tuned, RunSettings]:
    """A tiny base under a method, in float32 unless `dtype` says otherwise."""
    run, own = make_settings(method, {"dtype": "float32"} | overrides)
    info = BaseStore(folder / "cache").find(str(folder))
    chosen = find_method(method)
    dtype = chosen.dtype(run.dtype, CPU)
    base = load_base(info, device=CPU, dtype=dtype, attention=ATTENTION)
    return chosen.prepare(base, own, run.seed), run


def with_dropout(method: str) -> dict[str, float]:
    """Dropout for whichever of the method's settings is one."""
    names = [item.name for item in fields(find_method(method).settings)]
    return {name: DROPOUT for name in names if name.endswith("dropout")}


def examples_for(tuned: Tuned, count: int = 12, first: int = 0) -> list[Encoded]:
    """Examples of 40 to 200 tokens."""
    return [
        encode_example(
            tuned.base.tokenizer,
            str(number),
            [Message(role="user", content=f"Number {number}")],
            f"The number is {number}, and it is fine. " * (1 + number % 4),
            max_length=300,
        )
        for number in range(first, first + count)
    ]


def run_loop(
    tuned: Tuned,
    run: RunSettings,
    folder: Path,
    stop_at: int | None = None,
    seconds: float = 0.0,
    **more: Any,
) -> TrainResult:
    """Train on twelve examples; a checkpoint every `seconds`, 0 for each step."""
    seen: list[Progress] = []
    tell = more.pop("listener", lambda _: None)

    def hear(event: Progress) -> None:
        seen.append(event)
        tell(event)

    given: dict[str, Any] = {
        "run_digest": "run",
        "task": "test",
        "checkpoint_seconds": seconds,
        "should_stop": lambda: stop_at is not None and seen[-1].done >= stop_at,
    }
    return train(
        tuned,
        examples_for(tuned),
        examples_for(tuned, 3, first=50),
        run=run,
        folder=folder,
        listener=hear,
        **(given | more),
    )


def weights(tuned: Tuned) -> dict[str, torch.Tensor]:
    """A copy of what is trained."""
    return {name: parameter.detach().clone() for name, parameter in tuned.parameters.items()}


def _killed(
    base: str, method: str, settings: dict[str, Any], folder: str, kill: int | None, seed: int
) -> None:
    """Run to the end, or to a kill shortly after this many steps."""
    chance = random.Random(seed)
    first: list[int] = []

    def listen(event: Progress) -> None:
        first.append(event.done)
        if kill is not None and event.done - first[0] == kill:
            delay = chance.uniform(0, 0.03)
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()

    tuned, run = prepared(Path(base), method, **settings)
    result = run_loop(tuned, run, Path(folder), listener=listen)
    save_file(weights(tuned), Path(folder) / "final.safetensors")
    (Path(folder) / "result.json").write_text(json.dumps([result.steps, result.kept_step]))


def _squeezed(base: str, folder: str, room: int) -> None:
    """Train on examples of 750 tokens with room for so many at once; what came of it, as JSON.

    In a process of its own: what the allocator gives back of an earlier run would be room too.
    """
    tuned, run = prepared(Path(base), "lora", max_steps=1, batch_tokens=2048)
    examples = [Encoded(id=str(n), ids=tuple(range(250)) * 3, prompt_length=600) for n in range(2)]
    need = measure_need(tuned, examples, run)
    free_memory()
    limit = psutil.Process().memory_info().vms + need.at(room)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    said: int | str
    try:
        given: dict[str, Any] = {"run": run, "run_digest": "r", "task": "squeezed"}
        result = train(tuned, examples, examples[:1], folder=Path(folder) / str(room), **given)
        said = result.micro_tokens
    except OutOfMemory as error:
        said = str(error)
    (Path(folder) / f"said-{room}.json").write_text(json.dumps(said))


def _main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                order = json.loads(line)
                {"killed": _killed, "squeezed": _squeezed}[order.pop("do")](**order)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
        told = "killed" if os.WIFSIGNALED(status) else str(os.WEXITSTATUS(status))
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()


class Children:
    """Does things in children of a process that has imported torch once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._count = 0

    def kill(
        self, base: Path, method: str, settings: dict[str, Any], folder: Path, kill: int | None
    ) -> str:
        """Run to the end, or to a kill after so many steps: `killed`, or the exit code."""
        self._count += 1
        run = {"base": str(base), "method": method, "settings": settings, "folder": str(folder)}
        return self._do({"do": "killed", "kill": kill, "seed": self._count, **run})

    def squeeze(self, base: Path, folder: Path, room: int) -> int | str:
        """What comes of a run with room for so many tokens at once: how many ran, or the error."""
        order = {"do": "squeezed", "base": str(base), "folder": str(folder), "room": room}
        assert self._do(order) == "0"
        return json.loads((folder / f"said-{room}.json").read_text())

    def _do(self, order: dict[str, Any]) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def children() -> Generator[Children]:
    """Start the process that forks; one thread, since threads do not survive a fork."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        yield Children(process)


if __name__ == "__main__":
    _main()
