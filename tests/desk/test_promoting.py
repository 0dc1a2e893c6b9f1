"""Promotion, canaries, histories, differences and lineages of a workspace."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_tiny_base
from gated import LOOSE, QUICK, gated_workspace, set_config
from test_workspace import BRIEF

import copydesk
from copydesk import Workspace
from copydesk.desk import ClientHistory
from copydesk.desk._diffing import keep_samples
from copydesk.desk._gate_cache import GateCache
from copydesk.errors import AlreadyThere, Damaged, InUse, InvalidInput, NotPassed, UnknownName
from copydesk.registry import (
    GateResult,
    find_version,
    outcomes,
    record_evaluation,
    report_outcome,
)
from copydesk.store import open_artifact


@pytest.fixture(scope="module")
def made(tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "agency"
    gated_workspace(root, tiny_base, sample_folder).close()
    return root


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the workspace, which also shows that one can be moved."""
    shutil.copytree(made, tmp_path / "moved")
    with copydesk.open(tmp_path / "moved") as opened:
        yield opened


def passes(workspace: Workspace, ref: str, *, against: int | None = None) -> None:
    """Record gates that passed, as an evaluation of the present settings would."""
    from copydesk.desk._models import workspace_base

    record_evaluation(
        workspace.catalogue,
        find_version(workspace.catalogue, ref),
        [GateResult(name="heldout_gain", value=0.5, threshold=0.0, bound="least")],
        base=workspace_base(workspace._place).digest,
        against=against,
        thresholds=workspace.config.gates.digest,
        software={},
    )


def states(found: ClientHistory) -> dict[str, tuple[bool, str]]:
    return {item.version: (item.live, item.gates) for item in found.versions}


def test_from_never_promoted_to_promoted_and_back(workspace: Workspace) -> None:
    found = workspace.history("fernwick")
    assert (found.live, found.promoted, found.stale) == ("fernwick@2", False, False)
    with pytest.raises(NotPassed, match="never asked"):
        workspace.promote("fernwick@1")
    passes(workspace, "fernwick@1")
    done = workspace.promote("fernwick@1")
    assert done.by and not done.forced
    found = workspace.history("fernwick")
    assert (found.live, found.promoted) == ("fernwick@1", True)
    assert states(found) == {
        "fernwick@1": (True, "passed"),
        "fernwick@2": (False, "never asked"),
    }
    assert {info.name: info.live for info in workspace.clients()}["fernwick"] == "fernwick@1"
    (written,) = workspace.write("fernwick", [BRIEF])
    assert written.draft.version == "fernwick@1", "what was promoted writes"
    (written,) = workspace.write("fernwick@2", [BRIEF])
    assert written.draft.version == "fernwick@2"
    path = workspace.export("fernwick", to="peft", folder=workspace.root / "out")
    version = find_version(workspace.catalogue, "fernwick@1")
    weights = "adapter_model.safetensors"
    assert (path / weights).read_bytes() == (version.path / weights).read_bytes()
    assert workspace.rollback("fernwick", reason="a try").number == 2
    assert workspace.history("fernwick").changes[-1].reason == "a try"
    with pytest.raises(InvalidInput, match="nothing to go back to"):
        workspace.rollback("fernwick")


def test_thresholds_that_change_ask_the_gates_again(workspace: Workspace, tiny_base: Path) -> None:
    passes(workspace, "fernwick@1")
    set_config(workspace.root, tiny_base, LOOSE | {"forgetting": 0.2})
    with (
        copydesk.open(workspace.root) as changed,
        pytest.raises(NotPassed, match="before the thresholds changed"),
    ):
        changed.promote("fernwick@1")
    other = write_tiny_base(workspace.root / "foundation", "qwen2")
    set_config(workspace.root, other, LOOSE)
    with copydesk.open(workspace.root) as changed:
        with pytest.raises(NotPassed, match="before the base changed"):
            changed.promote("fernwick@1")
        found = changed.history("fernwick")
        assert found.stale and all(item.stale for item in found.versions)
        assert {info.name: info.stale for info in changed.clients()} == {
            "fernwick": True, "moonmilk": True,
        }  # fmt: skip


def test_what_promote_is_asked_is_checked(workspace: Workspace) -> None:
    with pytest.raises(InvalidInput, match="names no version"):
        workspace.promote("fernwick")
    with pytest.raises(InvalidInput, match="nothing is forced"):
        workspace.promote("fernwick@1", reason="because")
    with pytest.raises(InvalidInput, match="needs a reason"):
        workspace.promote("fernwick@1", force=True)
    with pytest.raises(UnknownName, match="fernwick@1, fernwick@2"):
        workspace.promote("fernwick@3", force=True, reason="x")
    for share in (0.0, 1.0, -1.0, 2.0):
        with pytest.raises(InvalidInput, match="share"):
            workspace.promote("fernwick@1", force=True, reason="x", canary=share)
    workspace.promote("fernwick@1", force=True, reason="The client asked for it.")
    with pytest.raises(AlreadyThere):
        workspace.promote("fernwick@1", force=True, reason="again")
    (change,) = workspace.history("fernwick").changes
    assert (change.forced, change.reason) == (True, "The client asked for it.")


def test_a_damaged_version_is_not_promoted_and_does_not_keep_others_from_it(
    workspace: Workspace,
) -> None:
    version = find_version(workspace.catalogue, "fernwick@1")
    passes(workspace, "fernwick@1")
    file = version.path / "adapter_model.safetensors"
    kept = file.read_bytes()
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(Damaged, match=r"adapter_model\.safetensors is not what was written"):
        workspace.promote("fernwick@1")
    file.write_bytes(kept)
    workspace.promote("fernwick@1")
    shutil.rmtree(version.path)
    workspace.promote("fernwick@2", force=True, reason="The other is lost.")
    assert find_version(workspace.catalogue, "fernwick").number == 2


def test_without_its_dataset_a_version_is_not_judged(workspace: Workspace) -> None:
    (entry,) = workspace.catalogue.entries("datasets", "fernwick")
    workspace.catalogue.forget(entry)
    with pytest.raises(UnknownName, match=r"fernwick@1 was trained on.*copydesk train fernwick"):
        workspace.evaluate("fernwick@1")


def test_a_canary_answers_its_share_of_what_is_written_and_is_counted_by_call(
    workspace: Workspace, tiny_base: Path
) -> None:
    set_config(workspace.root, tiny_base, LOOSE, "[canary]\nrequests = 3")
    with copydesk.open(workspace.root) as opened:
        opened.promote("fernwick@1", force=True, reason="x")
        passes(opened, "fernwick@2", against=1)
        opened.promote("fernwick@2", canary=0.5)
        spoke: dict[int, str] = {}
        for seed in range(6):
            (written,) = opened.write("fernwick", [replace(BRIEF, length=20)], seed=seed)
            spoke[seed] = written.draft.version
            if not opened.history("fernwick").canary:
                break
        assert set(spoke.values()) <= {"fernwick@1", "fernwick@2"}
        counted = {n: outcomes(opened.catalogue, "fernwick", n).requests for n in (1, 2)}
        assert counted == {n: list(spoke.values()).count(f"fernwick@{n}") for n in (1, 2)}
        opened.write("fernwick@1", [replace(BRIEF, length=20)])
        assert outcomes(opened.catalogue, "fernwick", 1).requests == counted[1], "named, not drawn"
        canary = opened.history("fernwick").canary
        if canary is not None:
            with pytest.raises(InUse, match="canary of fernwick@2"):
                opened.promote("fernwick@1", force=True, reason="x")
            for _ in range(canary.rules.requests - counted[2]):
                report_outcome(opened.catalogue, "fernwick", 2, findings=False, error=False)
        assert opened.history("fernwick").live == "fernwick@2"
        assert opened.history("fernwick").changes[-1].action == "canary-finished"


def test_two_versions_side_by_side(workspace: Workspace) -> None:
    found = workspace.diff("fernwick@1", "fernwick@2")
    assert {pair.name: (pair.one, pair.other) for pair in found.settings} == {"max_steps": (2, 4)}
    assert [pair.name for pair in found.inputs] == ["run"]
    assert found.pages is not None and found.pages.shared == 24 and not found.pages.added
    scores = {pair.name: pair for pair in found.scores}
    assert scores["heldout_loss"].other < scores["heldout_loss"].one
    assert "copydesk eval fernwick@1 and fernwick@2" in found.todo and found.drafts == ()
    cache = GateCache(workspace._place, "fernwick")
    draft = workspace.write("fernwick@1", [BRIEF])[0].draft
    for ref, samples in (
        ("fernwick@1", [("Sweet peas", draft), ("Only here", draft)]),
        ("fernwick@2", [("Sweet peas", None)]),
    ):
        passes(workspace, ref)
        keep_samples(cache, find_version(workspace.catalogue, ref), samples)
    found = workspace.diff("fernwick@1", "fernwick@2")
    (sample,) = found.drafts
    assert (sample.brief, sample.one, sample.other) == ("Sweet peas", draft.text, None)
    assert found.todo == "" and [pair.name for pair in found.gates] == ["heldout_gain"]
    with pytest.raises(InvalidInput, match="different clients"):
        workspace.diff("fernwick@1", "moonmilk@1")
    with pytest.raises(UnknownName):
        workspace.diff("fernwick@1", "fernwick@9")


def test_pages_that_changed_between_versions_are_named(
    workspace: Workspace, sample_folder: Path, tmp_path: Path
) -> None:
    lines = (sample_folder / "fernwick" / "posts.jsonl").read_text("utf-8").splitlines()
    posts = [json.loads(line) for line in lines][1:]
    posts[0]["body_markdown"] += "\n\nOne more thing, which nobody had said before today."
    file = tmp_path / "posts.jsonl"
    file.write_text("\n".join(map(json.dumps, posts)), encoding="utf-8")
    workspace.curate("fernwick", [file])
    assert not workspace.train(["fernwick"], method="lora", settings=QUICK).failed
    pages = workspace.diff("fernwick@1", "fernwick@3").pages
    assert pages is not None
    assert len(pages.removed) >= 1 and len(pages.changed) == 1


def test_from_a_draft_to_its_pages(workspace: Workspace) -> None:
    (written,) = workspace.write("fernwick@1", [BRIEF])
    version = find_version(workspace.catalogue, "fernwick@1")
    train, heldout = workspace.documents("fernwick")
    found = workspace.lineage(written.path)
    assert found.draft == str(written.path)
    assert (found.version, found.digest, found.live) == ("fernwick@1", version.digest, False)
    assert found.base.digest == version.inputs["base"] and found.run == version.inputs["run"]
    assert found.dataset == "fernwick/1" and found.heldout == len(heldout)
    assert [page.id for page in found.pages] == [page.id for page in train]
    assert {page.source for page in found.pages} == {page.source for page in train}
    assert found.rights == {"client only": len(train)}
    assert found.evaluated is None
    record = written.path.with_suffix(".json")
    record.unlink()
    assert workspace.lineage(written.path).version == "fernwick@1", "the front matter says it too"
    assert workspace.lineage("fernwick").version == "fernwick@2"
    passes(workspace, "fernwick@1")
    assert workspace.lineage("fernwick@1").evaluated == "passed"


def test_a_lineage_names_rights_and_a_foundations_origin(
    workspace: Workspace, sample_folder: Path, tiny_base: Path
) -> None:
    workspace.add_client("kestrel")
    pages = sample_folder / "kestrel" / "posts.jsonl"
    workspace.curate("kestrel", [pages], right="licence:CC0-1.0")
    workspace.train_foundation(
        sources=["kestrel"],
        name="house",
        most_forgetting=100,
        settings={"max_steps": 2, "max_length": 512},
    )
    set_config(workspace.root, "house", LOOSE)
    with copydesk.open(workspace.root) as opened:
        assert not opened.train(["kestrel"], method="lora", settings=QUICK).failed
        found = opened.lineage("kestrel")
        assert set(found.rights) == {"licence:CC0-1.0"}
        assert found.base.name == "house" and found.base.parent == tiny_base.name
        old = find_version(opened.catalogue, "fernwick@1").inputs["base"]
        assert found.base.parent_digest == old != found.base.digest
        assert opened.history("fernwick").stale and not opened.history("kestrel").stale


def test_a_version_that_learned_a_withdrawn_page_is_not_promoted(workspace: Workspace) -> None:
    passes(workspace, "fernwick@1")
    page = workspace.documents("fernwick")[0][0]
    workspace.withdraw("fernwick", page.sha256)
    with pytest.raises(NotPassed, match="its owner withdrew"):
        workspace.promote("fernwick@1")
    assert workspace.lineage("fernwick@1").withdrawn == 1
    passes(workspace, "moonmilk@1")
    workspace.promote("moonmilk@1")
    workspace.promote("fernwick@1", force=True, reason="The owner agreed to wait.")


def test_what_has_no_lineage_says_why(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "alien.md"
    file.write_text("# A title\n\nSome text.\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="does not say which version"):
        workspace.lineage(file)
    with pytest.raises(UnknownName, match=r"no draft gone\.md"):
        workspace.lineage(tmp_path / "gone.md")
    with pytest.raises(UnknownName, match="nobody"):
        workspace.lineage("nobody@1")


def test_a_dataset_that_is_gone_leaves_the_rest_of_the_lineage(workspace: Workspace) -> None:
    (entry,) = workspace.catalogue.entries("datasets", "fernwick")
    workspace.catalogue.forget(entry)
    found = workspace.lineage("fernwick@1")
    assert found.dataset is None and found.pages == () and found.dataset_digest == entry.digest
    assert workspace.diff("fernwick@1", "fernwick@2").pages is None


def test_deleting_a_client_leaves_nothing_of_its_promotions(workspace: Workspace) -> None:
    workspace.promote("fernwick@1", force=True, reason="zanzibarine")
    workspace.evaluate("moonmilk@1")
    assert (workspace.root / "cache" / "fernwick" / "gates").is_dir()
    workspace.delete_client("fernwick")
    workspace.close()
    assert not (workspace.root / "cache" / "fernwick").exists()
    for file in workspace.root.rglob("*"):
        if file.is_file() and file.suffix != ".lock":
            raw = file.read_bytes()
            assert b"zanzibarine" not in raw, file
            if file.parts[-3:-1] != ("cache", "moonmilk"):
                assert b"fernwick" not in raw or file.name == "copydesk.db", file
    assert open_artifact(workspace.root / "artifacts" / "versions" / "moonmilk" / "1")
