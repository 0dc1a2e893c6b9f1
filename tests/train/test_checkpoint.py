"""Checkpoints that are damaged, and disks that are full."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import disk_of
from training import prepared, run_loop, weights

from copydesk.errors import Damaged, NoRoom
from copydesk.records import Progress
from copydesk.train import clear_run

EARLY = {"eval_steps": 2, "early_stopping_patience": 50}


def flip(file: Path, place: float) -> None:
    """Flip a bit of the byte at this share of the file."""
    content = bytearray(file.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("file", ["state.safetensors", "manifest.json"])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_bit_sends_the_run_to_the_checkpoint_before(
    tiny_base: Path, tmp_path: Path, file: str, place: float
) -> None:
    whole, run = prepared(tiny_base, "lora", max_steps=8, batch_tokens=200)
    run_loop(whole, run, tmp_path / "whole", seconds=1e9)
    part, run = prepared(tiny_base, "lora", max_steps=8, batch_tokens=200)
    with pytest.raises(KeyboardInterrupt):
        run_loop(part, run, tmp_path / "part", stop_at=6)
    flip(tmp_path / "part" / "checkpoint-00000006" / file, place)
    again, run = prepared(tiny_base, "lora", max_steps=8, batch_tokens=200)
    resumed = run_loop(again, run, tmp_path / "part").resumed_at
    # A manifest whose date was changed still describes its files.
    assert resumed == 5 or (file == "manifest.json" and resumed == 6)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_damaged_best_weights_send_the_run_to_a_checkpoint_that_has_its_own(
    tiny_base: Path, tmp_path: Path
) -> None:
    settings = {"max_steps": 8, "batch_tokens": 200, **EARLY}
    whole, run = prepared(tiny_base, "lora", **settings)
    expected = run_loop(whole, run, tmp_path / "whole", seconds=1e9)
    part, run = prepared(tiny_base, "lora", **settings)
    with pytest.raises(KeyboardInterrupt):
        run_loop(part, run, tmp_path / "part", stop_at=6)
    best = tmp_path / "part" / "best-00000006" / "state.safetensors"
    flip(best, 1.0)
    again, run = prepared(tiny_base, "lora", **settings)
    result = run_loop(again, run, tmp_path / "part")
    assert result.resumed_at == 5
    assert result.kept_step == expected.kept_step
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_best_weights_that_are_damaged_at_the_end_are_not_used(
    tiny_base: Path, tmp_path: Path
) -> None:
    """At this rate the held-out loss jumps about, so that the best scoring is not the last."""
    settings = {
        **{"epochs": 100, "max_steps": 90, "batch_tokens": 200, "learning_rate": 0.1},
        **{"eval_steps": 2, "early_stopping_patience": 2, "lr_scheduler": "constant"},
    }
    tuned, run = prepared(tiny_base, "full", **settings)

    harmed: set[Path] = set()

    def harm(event: object) -> None:
        for path in set(tmp_path.glob("best-*/state.safetensors")) - harmed:
            flip(path, 1.0)
            harmed.add(path)

    with pytest.raises(Damaged, match=r"state\.safetensors"):
        run_loop(tuned, run, tmp_path, seconds=1e9, listener=harm)


def test_a_finished_run_leaves_its_figures(tiny_base: Path, tmp_path: Path) -> None:
    tuned, run = prepared(tiny_base, "lora", max_steps=5, batch_tokens=200, **EARLY)
    run_loop(tuned, run, tmp_path)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2
    clear_run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MB, where this user may mount one."""
    with disk_of("3m", tmp_path / "disk") as folder:
        yield folder


def test_a_full_disk_loses_no_earlier_checkpoint(
    tiny_base: Path, small_disk: Path, tmp_path: Path
) -> None:
    settings = {"max_steps": 8, "batch_tokens": 200, "lora_r": 32}
    whole, run = prepared(tiny_base, "lora", **settings)
    run_loop(whole, run, tmp_path / "whole", seconds=1e9)
    part, run = prepared(tiny_base, "lora", **settings)
    folder = small_disk / "run"
    filler = small_disk / "filler"

    def fill(event: object) -> None:
        if (folder / "checkpoint-00000002").exists():
            with filler.open("ab") as file:
                left = shutil.disk_usage(small_disk).free
                file.write(b"x" * max(0, left - 20_000))

    with pytest.raises(NoRoom, match="disk is full"):
        run_loop(part, run, folder, listener=fill)
    kept = sorted(path.name for path in folder.glob("checkpoint-*"))
    assert kept and not list(folder.glob(".building-*"))
    filler.unlink()
    again, run = prepared(tiny_base, "lora", **settings)
    assert run_loop(again, run, folder).resumed_at == int(kept[-1][-8:])
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_file_size_limit_loses_no_earlier_checkpoint(tiny_base: Path, tmp_path: Path) -> None:
    tuned, run = prepared(tiny_base, "lora", max_steps=8, batch_tokens=200)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(event: Progress) -> None:
        if event.done == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))

    try:
        with pytest.raises(NoRoom, match="checkpoint-00000003"):
            run_loop(tuned, run, tmp_path, listener=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = sorted(path.name for path in tmp_path.glob("*checkpoint*"))
    assert kept == ["checkpoint-00000001", "checkpoint-00000002"]
