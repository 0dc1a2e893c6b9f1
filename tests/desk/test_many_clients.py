"""Several clients in one `train`: versions as each alone, and stale ones replaced at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from safetensors.torch import load_file

import copydesk
from copydesk import Workspace
from copydesk.errors import InUse, InvalidInput, NotEnoughText, UnknownName
from copydesk.records import Progress
from copydesk.registry import find_version
from copydesk.store import held

NAMES = ("fernwick", "kestrel", "moonmilk")
SETTINGS: dict[str, Any] = {"max_steps": 4, "max_length": 300, "dtype": "float32", "lora_r": 4}


def agency(root: Path, base: Path, samples: Path, extra: str = "") -> Workspace:
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(f'base = "{base}"\n{extra}', encoding="utf-8")
    workspace = copydesk.open(root)
    for name in NAMES:
        workspace.add_client(name)
        workspace.curate(name, [samples / name / "posts.jsonl"])
    return workspace


def weights(path: Path) -> torch.Tensor:
    found = load_file(path / "adapter_model.safetensors")
    return torch.cat([found[name].flatten() for name in sorted(found)])


def test_all_clients_train_in_one_pass_as_each_alone(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    extra = "[client_settings.kestrel.lora]\nlora_r = 6\nlearning_rate = 1e-3\n"
    settings = {key: value for key, value in SETTINGS.items() if key != "lora_r"}
    order: list[str] = []
    with agency(tmp_path / "a", tiny_base, sample_folder, extra) as workspace:
        result = workspace.train(
            None, settings=settings, listener=lambda event: order.append(event.task)
        )
        assert [version.client for version in result.versions] == list(NAMES)
        assert not result.failed
        ranks = [
            json.loads((version.path / "adapter_config.json").read_text())["r"]
            for version in result.versions
        ]
        assert ranks == [16, 6, 16]
        facts = find_version(workspace.catalogue, "moonmilk").facts
        assert facts["clients_in_pass"] == 3
        row = {
            row.method: row
            for row in workspace.compare("kestrel", methods=["lora"], settings=settings).rows
        }["lora"]
        assert row.clients_in_pass == 3, "the comparison took the version, and says so"
    assert order != sorted(order), "side by side"
    with agency(tmp_path / "b", tiny_base, sample_folder, extra) as workspace:
        for version in result.versions:
            (alone,) = workspace.train([version.client], settings=settings).versions
            left, right = weights(version.path), weights(alone.path)
            assert float((left - right).norm() / right.norm()) < 1e-5
            assert version.heldout_loss == pytest.approx(alone.heldout_loss, rel=1e-5)


def test_what_is_wrong_with_one_client_stops_it_alone(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    extra = '[client_settings.kestrel.lora]\noverlong = "drop"\nmax_length = 16\n'
    settings = {key: value for key, value in SETTINGS.items() if key != "max_length"}
    with (
        agency(tmp_path / "a", tiny_base, sample_folder, extra) as workspace,
        held(workspace.root / "locks", "moonmilk", doing="is at it"),
    ):
        result = workspace.train(NAMES, settings=settings)
        assert [version.client for version in result.versions] == ["fernwick"]
        errors = {failure.client: failure.error for failure in result.failed}
        assert isinstance(errors["kestrel"], NotEnoughText)
        assert isinstance(errors["moonmilk"], InUse)
        with pytest.raises(UnknownName, match="nobody"):
            workspace.train(["fernwick", "nobody"], settings=settings)


def test_too_little_memory_says_what_would_do(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    with agency(tmp_path / "a", tiny_base, sample_folder) as workspace:
        with pytest.raises(InvalidInput, match="The least that would do is"):
            workspace.train(NAMES, settings=SETTINGS, memory=1_000_000)
        assert all(client.versions == 0 for client in workspace.clients())


def test_another_number_format_trains_beside_a_pass(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    extra = '[client_settings.kestrel.lora]\ndtype = "bfloat16"\n'
    settings = {key: value for key, value in SETTINGS.items() if key != "dtype"}
    settings_of = f'[settings.lora]\ndtype = "float32"\n{extra}'
    with agency(tmp_path / "a", tiny_base, sample_folder, settings_of) as workspace:
        result = workspace.train(NAMES, settings=settings)
        assert not result.failed
        facts = {
            version.client: find_version(workspace.catalogue, version.client).facts
            for version in result.versions
        }
        assert {name: facts[name]["dtype"] for name in NAMES} == {
            "fernwick": "float32",
            "kestrel": "bfloat16",
            "moonmilk": "float32",
        }
        assert [facts[name]["clients_in_pass"] for name in NAMES] == [2, 1, 2]


def test_pissa_trains_beside_a_pass(tiny_base: Path, sample_folder: Path, tmp_path: Path) -> None:
    extra = '[client_settings.kestrel.lora]\ninit_lora_weights = "pissa"\n'
    with agency(tmp_path / "a", tiny_base, sample_folder, extra) as workspace:
        result = workspace.train(NAMES, settings=SETTINGS)
        assert {version.client for version in result.versions} == set(NAMES)


def test_stale_adapters_are_replaced_all_at_once_or_not_at_all(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "a"
    with agency(root, tiny_base, sample_folder) as workspace:
        workspace.train(NAMES[:2], settings=SETTINGS)
        assert workspace.train(None, settings=SETTINGS, stale=True).versions == ()
    new_base = write_tiny_base(tmp_path / "base2", tied=False)
    spoilt = f'base = "{new_base}"\n[client_settings.kestrel.lora]\nlearning_rate = 1e-12\n'
    (root / "copydesk.toml").write_text(spoilt, encoding="utf-8")
    with copydesk.open(root) as workspace:
        result = workspace.train(None, settings=SETTINGS, stale=True)
        assert result.versions == ()
        errors = {failure.client: str(failure.error) for failure in result.failed}
        assert set(errors) == {"fernwick", "kestrel"}, "moonmilk has no adapter to replace"
        assert "ready and held back, because kestrel's is not" in errors["fernwick"]
        assert [client.versions for client in workspace.clients()] == [1, 1, 0]
    (root / "copydesk.toml").write_text(f'base = "{new_base}"\n', encoding="utf-8")
    trained: set[str] = set()

    def note(event: Progress) -> None:
        trained.add(event.task)

    with copydesk.open(root) as workspace:
        result = workspace.train(None, settings=SETTINGS, stale=True, listener=note)
        assert {version.version for version in result.versions} == {"fernwick@2", "kestrel@2"}
        assert trained == {"train kestrel (LoRA)"}, "fernwick's was kept"
        assert workspace.train(None, settings=SETTINGS, stale=True).versions == ()
