"""`--method auto` and `Workspace.choose` on a tiny base."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import copydesk
from copydesk import Workspace
from copydesk.desk import Wishes
from copydesk.errors import InvalidInput, UnknownName
from copydesk.records import Comparison, MethodRow, Progress
from copydesk.store import Artifact, json_bytes, open_artifact

QUICK: dict[str, Any] = {"max_steps": 3, "max_length": 256, "dtype": "float32"}
NOT_LORA = """
[[rule]]
name = "no-adapters"
methods = ["lora", "qlora", "dora", "prefix", "prompt", "bottleneck"]
excludes = true
because = "We want {clients} bases, not {method}."
source = "a whim"
"""


@pytest.fixture
def workspace(tiny_base: Path, sample_folder: Path, tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "agency"
    copydesk.init(root).close()
    config = f'base = "{tiny_base}"\ncheckpoint_seconds = 0\n'
    (root / "copydesk.toml").write_text(config, encoding="utf-8")
    with copydesk.open(root) as opened:
        for name in ("kestrel", "moonmilk"):
            opened.add_client(name)
            opened.curate(name, [sample_folder / name / "posts.jsonl"])
        yield opened


def keep(workspace: Workspace, share: float, client: str = "kestrel", **untuned: float) -> None:
    """Keep a comparison in which LoRA had this share of full fine-tuning's gain."""
    rows = (
        MethodRow(method="base", status="done", **untuned),
        MethodRow(
            method="lora",
            status="done",
            relative_performance=share,
            relative_performance_ci=(share - 1, share + 1),
            tokens_per_second=100.0,
            trainable_parameters=20_000,
        ),
    )
    comparison = Comparison(
        client=client,
        base=Path(workspace.config.base).name,
        created="2026-11-24T12:00:00+00:00",
        machine="here",
        train_documents=24,
        heldout_documents=6,
        train_tokens=10_000,
        heldout_tokens=2_000,
        rows=rows,
        verdict="",
    )

    def fill(artifact: Artifact) -> None:
        (artifact.path / "comparison.json").write_bytes(json_bytes(asdict(comparison)))

    workspace.catalogue.make(kind="comparisons", client=client, inputs={}, fill=fill)


def test_auto_trains_all_clients_in_one_pass_and_keeps_its_reasons(workspace: Workspace) -> None:
    result = workspace.train(None, settings=QUICK)
    assert result.choice is not None and not result.failed
    assert result.choice.method == "lora"
    assert any("2 clients" in reason.text for reason in result.choice.reasons)
    for version in result.versions:
        manifest = open_artifact(version.path).manifest
        assert manifest is not None
        assert manifest.facts["clients_in_pass"] == 2
        assert manifest.facts["choice"] == json.loads(json.dumps(asdict(result.choice)))
    assert not list((workspace.root / "runs").rglob("choice.json"))
    named = workspace.train(["kestrel"], method="lora", settings=QUICK)
    assert named.choice is None
    manifest = open_artifact(named.versions[0].path).manifest
    assert manifest is not None and "choice" not in manifest.facts


def test_the_workspaces_rules_count_and_a_run_under_way_keeps_its_choice(
    workspace: Workspace,
) -> None:
    steps: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        workspace.train(
            ["kestrel"], settings=QUICK, listener=steps.append, should_stop=lambda: len(steps) > 1
        )
    (workspace.root / "rules.toml").write_text(NOT_LORA, encoding="utf-8")
    choice = workspace.choose(["kestrel"])
    assert (choice.method, choice.runner_up) == ("full", "")
    assert ("We want 2 bases, not LoRA.", "a whim") in {
        (reason.text, reason.source) for reason in choice.reasons
    }
    gone_on = workspace.train(["kestrel"], settings=QUICK)
    (version,) = gone_on.versions
    assert version.method == "lora" and version.resumed_at > 0
    afresh = workspace.train(["kestrel"], settings=QUICK)
    assert [item.method for item in afresh.versions] == ["full"]


def test_a_choice_rests_on_pages_comparisons_and_updates(
    workspace: Workspace, sample_folder: Path
) -> None:
    before = workspace.choose(["kestrel"])
    assert any("tokens an epoch is a small set" in reason.text for reason in before.reasons)
    keep(workspace, 40.0, heldout_loss=5.0, general_loss=3.0)
    after = workspace.choose(["kestrel"])
    assert after.method == "full", "measured on the client itself, LoRA had 40% of the gain"
    assert any("LoRA had 40%" in reason.text for reason in after.reasons)
    full = {after.method: after.scores["full"]}
    workspace.curate("kestrel", [sample_folder / "kestrel" / "posts.jsonl"])
    for _ in range(3):
        workspace.curate("kestrel", [sample_folder / "kestrel" / "posts.jsonl"])
    often = workspace.choose(["kestrel"])
    assert often.scores["full"] == pytest.approx(full["full"] - 2), "4 a month, 2 doublings"
    stated = workspace.choose(["kestrel"], Wishes(updates_month=1))
    assert stated.scores["full"] == full["full"]


def test_only_methods_with_the_given_settings_are_candidates(workspace: Workspace) -> None:
    assert set(workspace.choose(None, Wishes(settings={"num_virtual_tokens": 4})).scores) == {
        "prompt",
        "prefix",
    }
    assert set(workspace.choose(None, Wishes(settings={"loraplus_lr_ratio": 4})).scores) == {
        "lora",
        "dora",
        "qlora",
    }
    with pytest.raises(InvalidInput, match="lora_rr is not a setting"):
        workspace.choose(None, Wishes(settings={"lora_rr": 4}))
    with pytest.raises(UnknownName, match="nobody"):
        workspace.choose(["nobody"])
    with pytest.raises(InvalidInput, match="does not fold"):
        workspace.choose(None, Wishes(settings={"num_virtual_tokens": 4}, latency="lowest"))


def test_what_is_set_stands_over_what_is_chosen(workspace: Workspace) -> None:
    rule = NOT_LORA.replace("excludes = true", "settings = { lora_r = 4, lora_alpha = 8 }")
    rule = rule.replace(', "prefix", "prompt", "bottleneck"', "")
    (workspace.root / "rules.toml").write_text(rule, encoding="utf-8")
    (made,) = workspace.train(["kestrel"], settings=QUICK).versions
    (set_,) = workspace.train(["kestrel"], settings=QUICK | {"lora_r": 2}).versions
    configs = [
        json.loads((version.path / "adapter_config.json").read_text()) for version in (made, set_)
    ]
    assert [(config["r"], config["lora_alpha"]) for config in configs] == [(4, 8), (2, 8)]


def test_a_choice_for_named_hardware_rests_on_plans(workspace: Workspace) -> None:
    settings = {"max_length": 64, "batch_tokens": 64}
    choice = workspace.choose(["kestrel"], Wishes(settings=settings, hardware="t4"))
    plan = choice.plan
    assert plan is not None and plan.fits
    assert (plan.method, plan.hardware, plan.settings["max_length"]) == (choice.method, "t4", "64")
    known = any(
        "what " in reason.text and "trained parameters can hold" in reason.text
        for reason in choice.reasons
    )
    assert known, "the capacity is known from the plan's count of parameters"
    poor = Wishes(settings=settings, hardware="t4", budget_usd=1e-12)
    with pytest.raises(InvalidInput, match=r"would cost \$0\.00, and there are \$0\.00"):
        workspace.choose(["kestrel"], poor)
