"""Recipes, early stopping and trackers through the workspace."""

import json
from pathlib import Path

import pytest

import copydesk
from copydesk.errors import InvalidInput

EARLY = """
method = "full"
learning_rate = 0.1
lr_scheduler = "constant"
dtype = "float32"
epochs = 50
max_length = 256
eval_steps = 1
early_stopping_patience = 2
"""


@pytest.fixture
def workspace(tiny_base: Path, sample_folder: Path, tmp_path: Path) -> copydesk.Workspace:
    copydesk.init(tmp_path / "w").close()
    config = f'base = "{tiny_base}"\nmetrics = ["tensorboard"]\n'
    (tmp_path / "w" / "copydesk.toml").write_text(config, encoding="utf-8")
    opened = copydesk.open(tmp_path / "w")
    opened.add_client("kestrel")
    opened.curate("kestrel", [sample_folder / "kestrel" / "posts.jsonl"])
    return opened


def test_a_recipe_that_stops_early_leaves_its_best_version_and_its_figures(
    workspace: copydesk.Workspace, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    recipe = tmp_path / "early.toml"
    recipe.write_text(EARLY, encoding="utf-8")
    (made,) = workspace.train(["kestrel"], settings=copydesk.read_recipe(recipe)).versions
    assert made.method == "full"
    assert made.steps == made.kept_step + 2
    facts = json.loads((made.path / "manifest.json").read_text())["facts"]
    assert facts["stopped_early"] and facts["kept_step"] == made.kept_step
    best = min(p["heldout_loss"] for p in facts["curve"] if p["step"] and p["heldout_loss"])
    assert facts["heldout_loss"] == pytest.approx(best)
    (run,) = (workspace.root / "runs" / "kestrel").iterdir()
    assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", "tensorboard"]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_settings_that_do_not_go_together_stop_before_anything_is_trained(
    workspace: copydesk.Workspace,
) -> None:
    with pytest.raises(InvalidInput, match="adamw_bf16 is for bfloat16 weights"):
        workspace.train(["kestrel"], settings={"optimizer": "adamw_bf16"})
    assert not (workspace.root / "runs").exists()
