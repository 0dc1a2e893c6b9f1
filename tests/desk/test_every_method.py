"""Every adapter method through the workspace's verbs: train, compare, write, export."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from test_workspace import BRIEF, QUICK, new_workspace
from transformers import AutoModelForCausalLM

from copydesk import Workspace
from copydesk.corpus import material_example
from copydesk.desk._gate_servable import servable_gates
from copydesk.errors import InvalidInput
from copydesk.evaluate import mean_loss, score
from copydesk.models import (
    ATTENTION,
    METHODS,
    BaseStore,
    encode_examples,
    load_base,
    load_tokenizer,
    untuned,
)
from copydesk.registry import find_version

ADAPTERS = [name for name, method in METHODS.items() if method.leaves == "adapter"]
SETTINGS = {name: {**QUICK, "learning_rate": 0.02} for name in ADAPTERS}


@pytest.fixture(scope="module")
def workspace(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """Fernwick's version n is by the n-th adapter method."""
    root = tmp_path_factory.mktemp("methods") / "agency"
    with new_workspace(root, tiny_base, sample_folder, "fernwick") as opened:
        for method in ADAPTERS:
            trained = opened.train(["fernwick"], method=method, settings=SETTINGS[method])
            assert not trained.failed, trained.failed
        yield opened


def ref(method: str) -> str:
    return f"fernwick@{ADAPTERS.index(method) + 1}"


@pytest.mark.parametrize("method", ADAPTERS)
def test_a_version_speaks_and_leaves_in_the_forms_its_method_declares(
    workspace: Workspace, tiny_base: Path, tmp_path: Path, method: str
) -> None:
    (written,) = workspace.write(ref(method), [BRIEF], temperature=0)
    assert written.draft.text and written.draft.version == ref(method)
    declared = METHODS[method]
    for form, possible in (("peft", "peft" in declared.engines), ("merged", declared.merges)):
        target = tmp_path / form
        if not possible:
            with pytest.raises(InvalidInput, match=declared.label):
                workspace.export(ref(method), to=form, folder=target)
            assert not target.exists()
            continue
        workspace.export(ref(method), to=form, folder=target)
        if form == "peft":
            plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
            PeftModel.from_pretrained(plain, str(target))


@pytest.mark.parametrize("method", [name for name in ADAPTERS if METHODS[name].merges])
def test_a_merged_version_has_the_heldout_loss_that_was_measured(
    workspace: Workspace, tmp_path: Path, method: str
) -> None:
    folder = workspace.export(ref(method), to="merged", folder=tmp_path / "merged")
    version = find_version(workspace.catalogue, ref(method))
    info = BaseStore(tmp_path / "cache").find(str(folder))
    merged = load_base(info, device=torch.device("cpu"), dtype=torch.float32, attention=ATTENTION)
    examples = [material_example(page) for page in workspace.documents("fernwick")[1]]
    heldout = encode_examples(load_tokenizer(info), examples, max_length=512).examples
    found = mean_loss(score(untuned(merged), heldout))
    assert found == pytest.approx(version.facts["heldout_loss"], rel=1e-5)
    told = json.loads((folder / "export.json").read_text())
    assert 0 <= told.pop("merge_difference") < 1e-4
    assert told.pop("texts") == 8
    assert told == {
        "base": version.inputs["base"],
        "merged_into": "dequantised" if method == "qlora" else "original",
        "method": method,
        "version": version.name,
    }


@pytest.mark.parametrize("method", ADAPTERS)
def test_a_version_is_in_the_engine_what_was_judged(workspace: Workspace, method: str) -> None:
    version = find_version(workspace.catalogue, ref(method))
    probes = [tuple(range(40)), tuple(range(30, 90))]
    settings = workspace.config.gates
    gates = {
        gate.name: gate for gate in servable_gates(workspace._place, version, probes, settings)
    }
    assert all(gate.passed for gate in gates.values()), gates
    assert 0 < gates["served_difference"].value < 1e-4
    assert ("merge_difference" in gates) == METHODS[method].merges


def test_a_comparison_takes_every_methods_version(workspace: Workspace) -> None:
    made = workspace.compare("fernwick", methods=ADAPTERS, settings=SETTINGS["lora"])
    rows = {row.method: row for row in made.rows}
    for method in ADAPTERS:
        facts = find_version(workspace.catalogue, ref(method)).facts
        assert rows[method].status == "done"
        assert rows[method].heldout_loss == pytest.approx(facts["heldout_loss"], rel=1e-5)
        assert rows[method].train_seconds == facts["train_seconds"], "not trained again"
        assert rows[method].trainable_parameters == facts["trainable_parameters"]
