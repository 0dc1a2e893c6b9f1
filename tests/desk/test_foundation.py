"""A foundation on a tiny base: which pages it takes, its gates, and adapters that bind to it."""

import json
from pathlib import Path
from typing import Any

import pytest

import copydesk
from copydesk import Workspace
from copydesk.desk._learned import read_learned
from copydesk.errors import InvalidInput, NotEnoughText
from copydesk.registry import find_version
from copydesk.store import open_artifact

QUICK: dict[str, Any] = {"max_steps": 6, "max_length": 300, "dtype": "float32"}


def with_rights(source: Path, target: Path, every: int = 1) -> Path:
    """The sample's pages, every so many-th with a recorded right."""
    lines = source.read_text("utf-8").splitlines()
    pages = [json.loads(line) for line in lines]
    for number, page in enumerate(pages):
        if number % every == 0:
            page["right"] = "consent:signed 2024"
    target.write_text("".join(json.dumps(page) + "\n" for page in pages), encoding="utf-8")
    return target


@pytest.fixture
def workspace(tiny_base: Path, sample_folder: Path, tmp_path: Path) -> Workspace:
    root = tmp_path / "agency"
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    opened = copydesk.open(root)
    for name, every in (("fernwick", 2), ("kestrel", 10_000)):
        opened.add_client(name)
        opened.curate(
            name,
            [with_rights(sample_folder / name / "posts.jsonl", tmp_path / f"{name}.jsonl", every)],
        )
    return opened


@pytest.mark.slow
def test_a_foundation_is_trained_registered_and_bound_to(workspace: Workspace) -> None:
    with workspace:
        result = workspace.train_foundation(
            sources=["fernwick"], mix=0.3, most_forgetting=5, settings=QUICK
        )
        train, _ = workspace.documents("fernwick")
        with_right = [page for page in train if getattr(page, "right", None)]
        assert 0 < len(with_right) < len(train)
        assert result.pages == len(with_right)
        assert result.rights == {"consent:signed 2024": len(with_right)}
        assert result.heldout_loss < result.heldout_loss_before
        assert 0 < result.mix <= 0.31
        assert result.registered and result.name == "foundation-1"
        manifest = open_artifact(result.path, keys=workspace.catalogue.keys).manifest
        assert manifest is not None
        learned = read_learned(result.path)
        assert learned is not None
        assert learned.pages == {page.sha256 for page in with_right}
        assert manifest.inputs["base"] == result.parent_digest
        assert manifest.facts["rights"] == dict(result.rights)
        config = workspace.root / "copydesk.toml"
    config.write_text('base = "foundation-1"\n', encoding="utf-8")
    with copydesk.open(config.parent) as again:
        trained = again.train(["fernwick"], settings={**QUICK, "max_steps": 2})
        assert not trained.failed
        bound = find_version(again.catalogue, "fernwick").inputs["base"]
        assert bound != result.parent_digest
        assert again.train(None, stale=True, settings=QUICK).versions == ()
        receipt = again.delete_client("fernwick")
        assert [(item["kind"], item["name"]) for item in receipt.learned] == [
            ("foundation", "foundation-1")
        ]


def test_one_that_forgets_is_not_kept(workspace: Workspace) -> None:
    with workspace:
        result = workspace.train_foundation(
            sources=["fernwick"], mix=0, most_forgetting=-10, settings={**QUICK, "max_steps": 1}
        )
        (failed,) = [gate for gate in result.gates if gate.name == "forgetting"]
        assert failed.value == pytest.approx(result.general_loss - result.general_loss_before)
        assert not failed.passed and not result.registered
        assert not result.path.exists()


def test_pages_without_a_recorded_right_are_never_used(workspace: Workspace) -> None:
    with workspace, pytest.raises(NotEnoughText, match="recorded right"):
        workspace.train_foundation(sources=["kestrel"], settings=QUICK)


def test_general_data_must_be_chats(workspace: Workspace, tmp_path: Path) -> None:
    wrong = tmp_path / "general.jsonl"
    wrong.write_text('{"messages": []}\n')
    with workspace, pytest.raises(InvalidInput, match="0 chats and 1 wrong"):
        workspace.train_foundation(sources=["fernwick"], general=wrong, settings=QUICK)
