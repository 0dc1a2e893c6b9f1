"""The gates on a tiny base: what they measure, and that spoiled versions are refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from gated import LOOSE, QUICK, SMALL, forged, gated_workspace, set_config
from test_workspace import BRIEF, new_workspace

import copydesk
from copydesk import Workspace
from copydesk.corpus import material_example
from copydesk.desk._models import load_version, workspace_base
from copydesk.errors import InUse, InvalidInput, NotPassed, UnknownName, WrongBase
from copydesk.evaluate import general_chats, mean_loss, score
from copydesk.models import (
    ATTENTION,
    encode_example,
    encode_examples,
    load_base,
    load_tokenizer,
    untuned,
)
from copydesk.registry import evaluations, find_version, newest_evaluation
from copydesk.store import held


@pytest.fixture(scope="module")
def workspace(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    with gated_workspace(
        tmp_path_factory.mktemp("gated") / "agency", tiny_base, sample_folder
    ) as opened:
        yield opened


def values(workspace: Workspace, ref: str) -> dict[str, float]:
    return {gate.name: gate.value for gate in workspace.evaluate(ref).evaluation.gates}


def failed(workspace: Workspace, ref: str) -> list[str]:
    gates = workspace.evaluate(ref).evaluation.gates
    return [gate.name for gate in gates if not gate.passed]


def test_an_honest_version_passes_and_the_losses_are_those_of_an_independent_count(
    workspace: Workspace,
) -> None:
    found = workspace.evaluate("fernwick@2")
    assert found.evaluation.passed and found.evaluation.against is None
    gates = {gate.name: gate for gate in found.evaluation.gates}
    assert list(gates) == [
        "servable", "served_difference", "merge_difference", "withdrawn", "heldout_gain",
        "reproduced", "train_gap", "forgetting", "diagonal", "own_gain", "instructions_lost",
        "memorised", "findings", "voice_gain",
    ]  # fmt: skip
    version = find_version(workspace.catalogue, "fernwick@2")
    info = workspace_base(workspace._place)
    cpu = torch.device("cpu")
    base = untuned(load_base(info, device=cpu, dtype=torch.float32, attention=ATTENTION))
    tuned = load_version(workspace._place, version, ATTENTION)
    tokenizer = load_tokenizer(info)
    general = [
        encode_example(tokenizer, name, chat, answer, max_length=1024)
        for name, chat, answer in general_chats()
    ]
    forgetting = mean_loss(score(tuned, general)) - mean_loss(score(base, general))
    # The base here is float32; where the machine multiplies bfloat16 faster, the gate's is that.
    assert gates["forgetting"].value == pytest.approx(forgetting, abs=5e-3)
    assert 0 <= gates["merge_difference"].value < 1e-5
    assert 0 < gates["served_difference"].value < 1e-4
    assert gates["reproduced"].value < 5e-3
    _, heldout = workspace.documents("fernwick")
    pages = encode_examples(tokenizer, list(map(material_example, heldout)), max_length=512)
    own = mean_loss(score(tuned, pages.examples))
    assert found.losses["fernwick"]["fernwick"] == pytest.approx(own, abs=5e-3)
    rival = load_version(workspace._place, find_version(workspace.catalogue, "moonmilk"), ATTENTION)
    theirs = mean_loss(score(rival, pages.examples))
    assert gates["diagonal"].value == pytest.approx(theirs - own, abs=5e-3)


def test_without_a_number_the_newest_version_is_judged(workspace: Workspace) -> None:
    newest = workspace.history("moonmilk").versions[-1].version
    assert workspace.evaluate("moonmilk").version == newest
    with pytest.raises(UnknownName, match="nobody"):
        workspace.evaluate("nobody")
    with pytest.raises(UnknownName, match="fernwick@1"):
        workspace.evaluate("fernwick@99")


def test_asking_again_measures_nothing_anew_and_says_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = values(workspace, "fernwick@1")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    for name in ("_gate_losses.score", "_gate_speech.instructions_followed"):
        monkeypatch.setattr(f"copydesk.desk.{name}", refuse)
    again = values(workspace, "fernwick@1")
    # The engine is asked anew; in which steps its texts meet is not the same twice.
    assert abs(again["served_difference"] - before["served_difference"]) < 1e-4
    assert {**again, "served_difference": 0} == {**before, "served_difference": 0}
    count = len(evaluations(workspace.catalogue, "fernwick"))
    kept = newest_evaluation(workspace.catalogue, "fernwick", 1)
    assert kept is not None and {g.name: g.value for g in kept.gates} == again
    assert kept.software["torch"] == torch.__version__.partition("+")[0] or kept.software["torch"]
    assert count >= 2


def zeroed(tensors: dict[str, Any]) -> dict[str, Any]:
    name = sorted(name for name in tensors if "lora_B" in name)[0]
    return {**tensors, name: torch.zeros_like(tensors[name])}


def poisoned(tensors: dict[str, Any]) -> dict[str, Any]:
    name = sorted(tensors)[-1]
    return {**tensors, name: tensors[name].index_fill(0, torch.tensor([0]), float("nan"))}


def missing(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensors[name] for name in sorted(tensors)[1:]}


def misshapen(tensors: dict[str, Any]) -> dict[str, Any]:
    name = sorted(tensors)[0]
    return {**tensors, name: tensors[name][:, :-1].contiguous()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (zeroed, "nothing but zeros"),
        (poisoned, "not finite"),
        (missing, ""),
        (misshapen, ""),
        (lambda _: {}, "holds no tensor"),
    ],
    ids=["zeroed", "poisoned", "missing", "misshapen", "empty"],
)
def test_weights_that_cannot_be_served_are_refused_and_nothing_more_is_asked(
    workspace: Workspace, change: Any, said: str
) -> None:
    version = forged(workspace, "fernwick@2", change)
    (gate,) = workspace.evaluate(version.name).evaluation.gates
    assert gate.name == "servable" and not gate.passed and said in gate.detail
    with pytest.raises(NotPassed, match="servable"):
        workspace.promote(version.name)


def test_a_version_that_the_engine_cannot_run_or_runs_otherwise_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def huge(tensors: dict[str, Any]) -> dict[str, Any]:
        name = sorted(name for name in tensors if "lora_B" in name)[0]
        return {**tensors, name: tensors[name].index_fill(0, torch.tensor([0]), 2e6)}

    version = forged(workspace, "fernwick@2", huge)  # PEFT loads it, and its logits are numbers
    (gate,) = workspace.evaluate(version.name).evaluation.gates
    assert not gate.passed and gate.detail.startswith("the engine does not run it")
    assert "above 1e+06" in gate.detail
    monkeypatch.setattr("copydesk.models._adapter_weights._scale", lambda *_: 30.0)
    assert "served_difference" in failed(workspace, "fernwick@2")


def test_files_that_changed_after_they_were_hashed_are_refused(workspace: Workspace) -> None:
    version = forged(workspace, "fernwick@2")
    file = version.path / "adapter_config.json"
    file.write_bytes(file.read_bytes() + b" ")
    (gate,) = workspace.evaluate(version.name).evaluation.gates
    assert "adapter_config.json is not what was written" in gate.detail


def test_an_adapter_of_another_base_or_of_too_high_a_rank_is_refused(
    workspace: Workspace, tiny_base: Path
) -> None:
    stranger = forged(workspace, "fernwick@2", inputs={"base": "f" * 64})
    (gate,) = workspace.evaluate(stranger.name).evaluation.gates
    assert "trained on base ffffffffffff" in gate.detail
    set_config(workspace.root, tiny_base, LOOSE | {"max_lora_rank": 8})
    with copydesk.open(workspace.root) as strict:
        (gate,) = strict.evaluate("fernwick@2").evaluation.gates
        assert "rank 16 is over max_lora_rank, 8" in gate.detail
    set_config(workspace.root, tiny_base, LOOSE)


def test_weights_that_are_not_those_that_training_scored_are_found(workspace: Workspace) -> None:
    def turned(tensors: dict[str, Any]) -> dict[str, Any]:
        return {
            name: -3 * tensor if "lora_B" in name else tensor for name, tensor in tensors.items()
        }

    version = forged(workspace, "fernwick@2", turned)
    assert "reproduced" in failed(workspace, version.name)


def test_another_clients_adapter_does_not_win_the_diagonal(
    workspace: Workspace, tiny_base: Path
) -> None:
    own = find_version(workspace.catalogue, "fernwick@2")
    other = forged(workspace, "moonmilk@1", client="fernwick", inputs=dict(own.inputs))
    set_config(workspace.root, tiny_base, LOOSE | {"diagonal": 1e-4, "reproduced": 10})
    with copydesk.open(workspace.root) as strict:
        assert failed(strict, other.name) == ["diagonal"]
        assert failed(strict, "fernwick@2") == []
    set_config(workspace.root, tiny_base, LOOSE)


@pytest.mark.slow
def test_a_promoted_version_is_what_is_to_beat_unless_its_base_is_gone(
    workspace: Workspace,
) -> None:
    forged(workspace, "fernwick@2")  # speaks as the newest: what the last rollback goes back to
    workspace.promote("fernwick@2", force=True, reason="to be compared with")
    found = workspace.evaluate("fernwick@1").evaluation
    gates = {gate.name: gate.value for gate in found.gates}
    assert found.against == 2
    losses = [
        find_version(workspace.catalogue, f"fernwick@{number}").facts["heldout_loss"]
        for number in (1, 2)
    ]
    assert gates["live_loss"] == pytest.approx(losses[0] - losses[1], abs=5e-3)
    assert "live_voice" in gates
    bound_elsewhere = forged(workspace, "fernwick@2", inputs={"base": "e" * 64})
    workspace.promote(bound_elsewhere.name, force=True, reason="as after a new foundation")
    found = workspace.evaluate("fernwick@1").evaluation
    assert found.against == bound_elsewhere.number
    assert "live_loss" not in {gate.name for gate in found.gates}
    with pytest.raises(WrongBase, match=r"eeeeeeeeeeee.*train --all --stale"):
        workspace.write("fernwick", [BRIEF])
    for _ in range(2):
        workspace.rollback("fernwick")


def test_planted_secrets_are_looked_for_whoever_planted_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace.client_folder("moonmilk")
    train, _ = workspace.documents("moonmilk")
    words = train[0].own_words.split()
    secret = next(word for word in words if sum(map(str.isalnum, word)) >= 9)
    (folder / "canaries.txt").write_text(f"{secret}\n\nplanted-k3j4h5\n", encoding="utf-8")
    monkeypatch.setattr(
        "copydesk.evaluate.BatchContinuer.continue_ids",
        lambda self, prefixes, tokens: [
            tuple(self.tokenizer("x " + "-".join(secret.upper()))["input_ids"]) for _ in prefixes
        ],
    )
    # Another client's secret in the drafts, in other dress; moonmilk's page is not asked for.
    assert values(workspace, "fernwick@1")["canaries"] == 1
    (folder / "canaries.txt").write_text("short\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="fewer than 8"):
        workspace.evaluate("fernwick@1")
    (folder / "canaries.txt").unlink()


def test_a_client_in_use_is_not_evaluated(workspace: Workspace) -> None:
    with (
        held(workspace.root / "locks", "fernwick", doing="trains it"),
        pytest.raises(InUse, match=r"process \d+, which trains it"),
    ):
        workspace.evaluate("fernwick@1")


def test_what_is_kept_under_other_clients_holds_figures_alone(workspace: Workspace) -> None:
    workspace.evaluate("fernwick@2")
    folder = workspace.root / "cache" / "moonmilk" / "gates"
    records = [json.loads(file.read_bytes()) for file in folder.glob("*.json")]
    losses = [record for record in records if record.keys() == {"losses"}]
    assert losses
    for record in losses:
        assert all(item.keys() == {"loss", "tokens"} for item in record["losses"])
    assert not any("fernwick" in json.dumps(record) for record in losses)


def test_settings_of_gates_are_checked(workspace: Workspace, tiny_base: Path) -> None:
    for wrong in ({"forgeting": 0.1}, {"forgetting": -1}, {"briefs": 0}, {"findings": "many"}):
        set_config(
            workspace.root, tiny_base, {k: json.dumps(v) for k, v in {**SMALL, **wrong}.items()}
        )
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            copydesk.open(workspace.root)
    set_config(workspace.root, tiny_base, LOOSE)


@pytest.mark.slow
def test_a_full_copy_and_virtual_tokens_are_judged_too(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    base = write_tiny_base(tmp_path / "other")
    new_workspace(tmp_path / "w", base, sample_folder, "kestrel").close()
    set_config(tmp_path / "w", base, LOOSE)
    with copydesk.open(tmp_path / "w") as workspace:
        for method in ("full", "prompt"):
            assert not workspace.train(["kestrel"], method=method, settings=QUICK).failed
            found = workspace.evaluate("kestrel").evaluation
            names = [gate.name for gate in found.gates]
            assert found.passed, [gate for gate in found.gates if not gate.passed]
            assert "merge_difference" not in names and "heldout_gain" in names
            assert ("served_difference" in names) == (method == "prompt")
            assert "diagonal" not in names, "there is no other client"
