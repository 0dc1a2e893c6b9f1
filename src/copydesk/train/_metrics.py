"""Where a run's figures go: always to `metrics.jsonl`, and to trackers where they are asked for.

A resumed run repeats the steps after its checkpoint, with the same figures. The JSON lines after
the checkpoint are dropped, so that no step stands twice; TensorBoard purges likewise; MLflow and
trackio cannot, and are not sent again what they have.
"""

import contextlib
import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from copydesk.errors import InvalidInput
from copydesk.store import append_line, json_bytes, replace_bytes

TrackerName = Literal["tensorboard", "mlflow", "trackio"]
METRICS_FILE = "metrics.jsonl"
PROJECT = "copydesk"
_MODULES: Mapping[TrackerName, str] = {
    "tensorboard": "torch.utils.tensorboard",
    "mlflow": "mlflow",
    "trackio": "trackio",
}


class MetricSink(Protocol):
    """Takes the figures of each step."""

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Take a step's figures; None where a figure was not measured at this step."""
        ...

    def close(self) -> None:
        """Send what is held back."""
        ...


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Refuse trackers that are not installed.

    Raises:
        InvalidInput: names them and how to install them.
    """
    missing: list[str] = []
    for name in names:
        try:
            import_module(_MODULES[name])
        except ImportError:
            missing.append(name)
    if missing:
        raise InvalidInput(
            f"Metrics cannot go to {' and '.join(missing)}: not installed",
            where="metrics",
            todo=f'Install: pip install "copydesk[{",".join(missing)}]"',
        )


@contextlib.contextmanager
def metric_sinks(
    names: Sequence[TrackerName], folder: Path, *, run_name: str, done: int
) -> Generator[tuple[MetricSink, ...]]:
    """The JSON lines and the named trackers, closed at the end.

    Args:
        names: of trackers, beside the JSON lines.
        folder: the run's own.
        run_name: what trackers call the run.
        done: steps that are done; figures of later ones are dropped.

    Raises:
        InvalidInput: a tracker is not installed.
    """
    check_trackers(names)
    sent = _last_step(folder / METRICS_FILE)
    made: list[MetricSink] = [_JsonLines(folder / METRICS_FILE, done)]
    try:
        for name in names:
            match name:
                case "tensorboard":
                    made.append(_TensorBoard(folder / "tensorboard", done))
                case "mlflow":
                    made.append(_MlFlow(folder, run_name, sent))
                case "trackio":
                    made.append(_Trackio(run_name, sent))
        yield tuple(made)
    finally:
        for sink in made:
            sink.close()


class _JsonLines:
    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        kept = [line for line in _lines(path) if line["step"] <= done]
        replace_bytes(path, b"".join(json_bytes(line) + b"\n" for line in kept))

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        append_line(self._path, {"step": step, **values})

    def close(self) -> None:
        """Each line is written at once."""


class _TensorBoard:
    def __init__(self, folder: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=done + 1)

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _MlFlow:
    """A run in the tracking store that `MLFLOW_TRACKING_URI` names, else in a file of the run's."""

    def __init__(self, folder: Path, run_name: str, sent: int) -> None:
        mlflow: Any = import_module("mlflow")
        store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        self._client: Any = mlflow.MlflowClient(tracking_uri=store)
        self._sent = sent
        known = folder / "mlflow-run.txt"
        if known.is_file():
            self._run = known.read_text(encoding="ascii")
            self._client.update_run(self._run, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(number, run_name=run_name).info.run_id
        replace_bytes(known, self._run.encode("ascii"))

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        if step <= self._sent:
            return
        for name, value in values.items():
            if value is not None:
                self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _Trackio:
    """A run in trackio's own folder. What it prints goes to standard error: the caller's output is
    not its place."""

    def __init__(self, run_name: str, sent: int) -> None:
        self._module: Any = import_module("trackio")
        self._sent = sent
        with contextlib.redirect_stdout(sys.stderr):
            self._run: Any = self._module.init(
                PROJECT,
                name=run_name,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        if step > self._sent:
            present = {name: value for name, value in values.items() if value is not None}
            self._run.log(present, step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._module.finish()


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a process killed while it wrote leaves half a line."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _last_step(path: Path) -> int:
    return max((line["step"] for line in _lines(path)), default=0)
