"""Small runs on tiny bases, for the tests of training; and, as a program, runs that are killed.

`python training.py` reads a JSON line a run and forks a child for it, which ends by itself or kills
itself with SIGKILL at a moment drawn at random: a timer strikes wherever the run then is.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from copydesk.models import (
    ATTENTION,
    BaseStore,
    Encoded,
    Tuned,
    encode_example,
    find_method,
    load_base,
)
from copydesk.records import Message, Progress
from copydesk.train import RunSettings, TrainResult, make_settings, train

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


def _child(order: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    chance = random.Random(order["seed"])
    kill_at: int | None = order["kill_after_steps"]
    first: list[int] = []

    def listen(event: Progress) -> None:
        first.append(event.done)
        if kill_at is not None and event.done - first[0] == kill_at:
            delay = chance.uniform(0, 0.03)
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()

    tuned, run = prepared(Path(order["base"]), order["method"], **order["settings"])
    folder = Path(order["folder"])
    result = run_loop(tuned, run, folder, listener=listen)
    save_file(weights(tuned), folder / "final.safetensors")
    (folder / "result.json").write_text(json.dumps([result.steps, result.kept_step]))


def _main() -> None:
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                _child(json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
        told = "killed" if os.WIFSIGNALED(status) else str(os.WEXITSTATUS(status))
        sys.stdout.write(f"{told}\n")
        sys.stdout.flush()


class Children:
    """Runs training in children of a process that has imported torch once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._count = 0

    def run(
        self, base: Path, method: str, settings: dict[str, Any], folder: Path, kill: int | None
    ) -> str:
        """Run to the end, or to a kill after so many steps: `killed`, or the exit code."""
        assert self._process.stdin and self._process.stdout
        self._count += 1
        order = {"base": str(base), "method": method, "settings": settings, "folder": str(folder)}
        order |= {"kill_after_steps": kill, "seed": self._count}
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
