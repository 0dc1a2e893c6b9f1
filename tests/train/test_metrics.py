"""Figures of a run, in JSON lines and in the trackers themselves."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training import prepared, run_loop

from copydesk.errors import InvalidInput
from copydesk.records import Progress
from copydesk.train._marker import MARKER, run_marker
from copydesk.train._metrics import check_trackers


def cut_off_then_finished(base: Path, folder: Path, trackers: tuple[str, ...]) -> list[float]:
    """Steps 1 to 5, the checkpoint of 4 as a kill would leave it, then 5 to 8."""
    settings = {"max_steps": 8, "batch_tokens": 200}
    tuned, run = prepared(base, "lora", **settings)
    with pytest.raises(KeyboardInterrupt):
        run_loop(tuned, run, folder, stop_at=5, trackers=trackers)
    for path in folder.glob("checkpoint-00000005/*"):
        path.unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train_l')
    tuned, run = prepared(base, "lora", **settings)
    result = run_loop(tuned, run, folder, trackers=trackers)
    assert result.resumed_at == 4
    return [point.train_loss for point in result.curve[1:] if point.train_loss is not None]


def test_a_resumed_run_writes_no_step_twice(tiny_base: Path, tmp_path: Path) -> None:
    losses = cut_off_then_finished(tiny_base, tmp_path, ())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert [line["train_loss"] for line in lines] == losses


def test_tensorboard_gets_each_step_once(tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses = cut_off_then_finished(tiny_base, tmp_path, ("tensorboard",))
    read: Any = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    events = read.Scalars("train_loss")
    assert [event.step for event in events] == list(range(1, 9))
    assert [event.value for event in events] == pytest.approx(losses, rel=1e-6)
    assert [event.step for event in read.Scalars("heldout_loss")] == [4, 8]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_gets_each_step_once(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow: Any = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    losses = cut_off_then_finished(tiny_base, tmp_path, ("mlflow",))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("copydesk").experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [(item.step, item.value) for item in history] == list(enumerate(losses, 1))


def test_trackio_gets_each_step_once(
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip("trackio")
    losses = cut_off_then_finished(tiny_base, tmp_path, ("trackio",))
    command = [sys.executable, "-m", "trackio.cli", "get", "metric", "--project", "copydesk"]
    command += ["--run", "test run", "--metric", "train_loss", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values = json.loads(told)["values"]
    assert [item["step"] for item in values] == list(range(1, 9))
    assert [item["value"] for item in values] == pytest.approx(losses)
    assert capsys.readouterr().out == ""


def test_a_tracker_that_is_not_installed_is_an_error_that_says_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # what Python keeps for what cannot be found
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(InvalidInput, match=r'mlflow and trackio.*"copydesk\[mlflow,trackio\]"'):
        check_trackers(("mlflow", "trackio"))
    check_trackers(())


def test_progress_carries_rate_loss_memory_and_time_left(tiny_base: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    tuned, run = prepared(tiny_base, "lora", max_steps=3, batch_tokens=200)
    run_loop(tuned, run, tmp_path, listener=seen.append)
    assert [event.done for event in seen] == [0, 1, 2, 3]
    for event in seen[1:]:
        assert set(event.values) == {"loss", "tokens_per_second", "memory_bytes", "seconds_left"}
        assert event.values["memory_bytes"] > 50e6
    assert seen[1].values["seconds_left"] > seen[-1].values["seconds_left"] == 0


def test_a_killed_run_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with run_marker(tmp_path) as told:
        assert told is None
        note = (tmp_path / MARKER).read_text()
    assert not (tmp_path / MARKER).exists()
    (tmp_path / MARKER).write_text(note)
    with run_marker(tmp_path) as told:
        assert told and told.startswith("The run before this one was killed; ")
    before = json.loads(note)
    (tmp_path / MARKER).write_text(json.dumps(before | {"kills": before["kills"] - 1}))
    with run_marker(tmp_path) as told:
        assert told and "for want of memory" in told
    (tmp_path / MARKER).write_text(json.dumps(before | {"boot": "another"}))
    with run_marker(tmp_path) as told:
        assert told and "ended with the machine" in told
    assert len(caplog.records) == 3
