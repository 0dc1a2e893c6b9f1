"""Comparisons in a workspace: kept by cells, gone on with after a kill, gone with the client."""

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
from copydesk.errors import InvalidInput
from copydesk.records import Comparison, MethodRow, Progress

SETTINGS: dict[str, Any] = {
    "max_steps": 8,
    "batch_tokens": 512,
    "max_length": 384,
    "dtype": "float32",
}


def new_workspace(root: Path, base: Path, samples: Path, *clients: str) -> Workspace:
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(
        f'base = "{base}"\ncheckpoint_seconds = 0\n', encoding="utf-8"
    )
    workspace = copydesk.open(root)
    for client in clients:
        workspace.add_client(client)
        workspace.curate(client, [samples / client / "posts.jsonl"])
    return workspace


def cells(root: Path, client: str = "kestrel") -> list[Path]:
    return sorted((root / "artifacts" / "cells" / client).glob("*/cell.json"))


def losses(comparison: Comparison) -> dict[str, tuple[float | None, float | None]]:
    return {row.method: (row.learning_rate, row.heldout_loss) for row in comparison.rows}


def test_a_second_comparison_measures_only_what_is_missing(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    with new_workspace(tmp_path / "w", tiny_base, sample_folder, "kestrel") as workspace:
        first = workspace.compare("kestrel", methods=["lora"], settings=SETTINGS)
        assert len(cells(workspace.root)) == 3
        events: list[Progress] = []
        again = workspace.compare(
            "kestrel", methods=["lora", "prompt"], settings=SETTINGS, listener=events.append
        )
        assert len(cells(workspace.root)) == 4
        assert {event.task for event in events if event.unit == "steps"} == {
            "compare kestrel: prompt tuning"
        }
        assert again.rows[2] == first.rows[2]
        assert workspace.comparisons() == (again,)
        # A damaged cell is measured again.
        damaged = cells(workspace.root)[2]
        damaged.write_text("{}", encoding="utf-8")
        third = workspace.compare("kestrel", methods=["lora"], settings=SETTINGS)
        assert losses(third) == losses(first)
        assert len(cells(workspace.root)) == 5


def test_several_clients_are_pooled_and_forgotten_with_any_of_them(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    names = ("kestrel", "moonmilk", "fernwick")
    with new_workspace(tmp_path / "w", tiny_base, sample_folder, *names) as workspace:
        one = workspace.compare("moonmilk", methods=["lora"], settings=SETTINGS)
        pooled = workspace.compare(["kestrel", "moonmilk"], methods=["lora"], settings=SETTINGS)
        other = workspace.compare(["kestrel", "fernwick"], methods=["lora"], settings=SETTINGS)
        assert pooled.clients == ("kestrel", "moonmilk")
        assert workspace.comparisons() == (one, pooled, other)
        assert one.clients == ("moonmilk",)
        workspace.delete_client("moonmilk")
        assert workspace.comparisons() == (other,)
        left = [path for path in workspace.root.rglob("*") if "moonmilk" in path.name]
        assert not left
        shelf = workspace.root / "artifacts" / "pooled" / "kestrel"
        assert [path.name for path in shelf.iterdir()] == ["2"]
        assert "moonmilk" not in (shelf / "2" / "comparison.json").read_text()


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"seeds": 0}, "seeds"),
        ({"budget_seconds": 0.0}, "budget"),
        ({"methods": []}, "method"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    tiny_base: Path, sample_folder: Path, tmp_path: Path, asked: dict[str, Any], word: str
) -> None:
    with new_workspace(tmp_path / "w", tiny_base, sample_folder, "kestrel") as workspace:
        with pytest.raises(InvalidInput, match=word):
            workspace.compare("kestrel", **asked)
        with pytest.raises(InvalidInput, match="client"):
            workspace.compare([])
        assert not (workspace.root / "runs").exists()


def compare_command(root: Path) -> list[str]:
    given = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    script = "from copydesk.app.cli import main; main()"
    return [
        *(sys.executable, "-c", script, "compare", "kestrel", "--json", "--methods", "lora"),
        *("--sweep", "--no-probe", *given, "--workspace", str(root)),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_comparison_goes_on(tiny_base: Path, sample_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "killed"
    new_workspace(root, tiny_base, sample_folder, "kestrel").close()
    child = subprocess.Popen(
        compare_command(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    deadline = time.monotonic() + 600
    while len(cells(root)) < 4 and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    # Within a trial, after its first steps.
    running = {path: path.read_bytes() for path in root.glob("runs/kestrel/*/metrics.jsonl")}
    while child.poll() is None and time.monotonic() < deadline:
        now = {path: path.read_bytes() for path in root.glob("runs/kestrel/*/metrics.jsonl")}
        if now != running:
            break
    child.kill()
    said, _ = child.communicate()
    assert child.returncode == -9 and said == b""
    kept = {path: path.read_bytes() for path in cells(root)}
    assert len(kept) >= 4
    assert not (root / "artifacts" / "comparisons").exists()
    resumed = subprocess.run(compare_command(root), capture_output=True, check=False)
    assert resumed.returncode == 0, resumed.stderr.decode()
    made = json.loads(resumed.stdout)
    assert {path: path.read_bytes() for path in kept} == kept
    assert {path.name for path in (root / "runs" / "kestrel").glob("*/*")} == {"metrics.jsonl"}
    with new_workspace(tmp_path / "whole", tiny_base, sample_folder, "kestrel") as workspace:
        whole = workspace.compare(
            "kestrel", methods=["lora"], settings=SETTINGS, sweep=True, probe=False
        )
        assert len(cells(root)) == len(cells(workspace.root))
    found = {row["method"]: (row["learning_rate"], row["heldout_loss"]) for row in made["rows"]}
    assert found == losses(whole)
    assert made["recommended"] == whole.recommended == "lora"
    assert made["spent_seconds"] > 0 and made["clients"] == ["kestrel"]
    assert {one["aspect"] for one in made["qualitative"]} >= {"memory", "ceiling", "flexibility"}


def test_a_comparison_from_before_there_were_cells_is_read(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    with new_workspace(tmp_path / "w", tiny_base, sample_folder, "kestrel") as workspace:
        made = workspace.compare("kestrel", methods=["lora"], settings=SETTINGS)
        (file,) = workspace.root.glob("artifacts/comparisons/kestrel/1/comparison.json")
        old = json.loads(file.read_text())
        new = {field for field in MethodRow.__slots__ if field.startswith(("swe", "tied", "seeds"))}
        for row in old["rows"]:
            for field in new:
                row.pop(field)
            row["predicted_train_seconds"] = None
        for field in ("clients", "budget_seconds", "spent_seconds", "recommended"):
            old.pop(field)
        file.write_text(json.dumps(old))
        (read,) = workspace.comparisons()
        assert read.clients == () and read.recommended is None
        assert read.rows == made.rows
