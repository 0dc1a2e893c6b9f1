"""Runs that are cut off go on, and end as if they had not been."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import copydesk
from copydesk import Workspace

SETTINGS: dict[str, Any] = {"max_steps": 12, "max_length": 512, "dtype": "float32", "seed": 5}
WEIGHTS = {"lora": "adapter_model.safetensors", "full": "model.safetensors"}


def new_workspace(root: Path, base: Path, samples: Path, config: str = "") -> Workspace:
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(f'base = "{base}"\n{config}', encoding="utf-8")
    workspace = copydesk.open(root)
    workspace.add_client("kestrel")
    workspace.curate("kestrel", [samples / "kestrel" / "posts.jsonl"])
    return workspace


@pytest.mark.parametrize(
    ("method", "own"), [("lora", {"lora_dropout": 0.2}), ("full", {})], ids=["lora", "full"]
)
def test_a_stopped_run_ends_as_an_uninterrupted_one(
    tiny_base: Path, sample_folder: Path, tmp_path: Path, method: str, own: dict[str, Any]
) -> None:
    settings = SETTINGS | own | {"max_steps": 6}
    with new_workspace(tmp_path / "whole", tiny_base, sample_folder) as workspace:
        (whole,) = workspace.train(["kestrel"], method=method, settings=settings).versions
    with new_workspace(tmp_path / "cut", tiny_base, sample_folder) as workspace:
        for stop in (2, 3):
            answers = iter([False] * (stop - 1) + [True])
            with pytest.raises(KeyboardInterrupt):
                workspace.train(
                    ["kestrel"], method=method, settings=settings, should_stop=answers.__next__
                )
            assert workspace.clients()[0].versions == 0
        (cut,) = workspace.train(["kestrel"], method=method, settings=settings).versions
        left = {path.name for path in (workspace.root / "runs" / "kestrel").glob("*/*")}
        assert left == {"metrics.jsonl"}
    assert (whole.resumed_at, cut.resumed_at) == (0, 5)
    weights = WEIGHTS[method]
    assert (cut.path / weights).read_bytes() == (whole.path / weights).read_bytes()
    assert cut.heldout_loss == whole.heldout_loss


def test_a_cut_off_run_is_not_taken_for_another(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    settings = SETTINGS | {"max_steps": 3}
    with new_workspace(tmp_path / "w", tiny_base, sample_folder) as workspace:
        with pytest.raises(KeyboardInterrupt):
            workspace.train(["kestrel"], settings=settings, should_stop=lambda: True)
        (other,) = workspace.train(["kestrel"], settings=settings | {"seed": 6}).versions
        assert other.resumed_at == 0
        (same,) = workspace.train(["kestrel"], settings=settings).versions
        assert same.resumed_at == 1


def train_command(root: Path) -> list[str]:
    given = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    script = "from copydesk.app.cli import main; main()"
    return [
        *(sys.executable, "-c", script, "train", "kestrel", "--json", "--method", "lora"),
        *(*given, "--workspace", str(root)),
    ]


def test_a_killed_run_goes_on_and_ends_as_an_uninterrupted_one(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "killed"
    each_step = "checkpoint_seconds = 0\n"
    new_workspace(root, tiny_base, sample_folder, each_step).close()
    child = subprocess.Popen(
        train_command(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    lines = 0
    deadline = time.monotonic() + 120
    while lines < 3 and child.poll() is None and time.monotonic() < deadline:
        lines = sum(
            path.read_bytes().count(b"\n") for path in root.glob("runs/kestrel/*/metrics.jsonl")
        )
        time.sleep(0.001)
    child.kill()
    said, _ = child.communicate()
    assert lines >= 3 and said == b"" and child.returncode == -9
    with copydesk.open(root) as workspace:
        assert workspace.clients()[0].versions == 0
        assert not (root / "artifacts" / "versions").exists()
    resumed = subprocess.run(train_command(root), capture_output=True, check=False)
    assert resumed.returncode == 0, resumed.stderr.decode()
    (version,) = json.loads(resumed.stdout)["versions"]
    assert 1 <= version["resumed_at"] < SETTINGS["max_steps"]
    assert version["version"] == "kestrel@1"
    with new_workspace(tmp_path / "whole", tiny_base, sample_folder) as workspace:
        (whole,) = workspace.train(["kestrel"], settings=SETTINGS).versions
    weights = WEIGHTS["lora"]
    found = Path(version["path"]) / weights
    assert found.read_bytes() == (whole.path / weights).read_bytes()
    assert version["heldout_loss"] == whole.heldout_loss
