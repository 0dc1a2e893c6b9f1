"""The workspace's verbs from end to end on a tiny base."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import write_tiny_base
from hard_kills import nursery
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import copydesk
from copydesk import Brief, Workspace
from copydesk.app._reporting import write_report
from copydesk.desk import Training
from copydesk.errors import AlreadyThere, Damaged, InUse, InvalidInput, UnknownName, WrongBase
from copydesk.store import held, open_artifact

CANARY = "zanzibarine"
QUICK = {"max_steps": 2, "max_length": 512, "dtype": "float32"}
BRIEF = Brief(title="Sweet peas, early", format="blog", keyword="sweet peas", length=30)


def canary_pages(source: Path, target: Path) -> Path:
    """The sample pages with a word that is nowhere else."""
    with target.open("w", encoding="utf-8") as file:
        for line in source.read_text("utf-8").splitlines():
            page = json.loads(line)
            page["title"] += f" {CANARY}"
            page["body_markdown"] = f"{CANARY} comes first. {page['body_markdown']} {CANARY}."
            file.write(json.dumps(page) + "\n")
    return target


def new_workspace(root: Path, base: Path, samples: Path, *clients: str) -> Workspace:
    """A workspace on the tiny base, with sample clients whose pages are curated."""
    workspace = copydesk.init(root)
    workspace.close()
    (root / "copydesk.toml").write_text(f'base = "{base}"\n', encoding="utf-8")
    workspace = copydesk.open(root)
    for name in clients:
        workspace.add_client(name, style_guide=samples / name / "style_guide.toml")
        workspace.curate(name, [samples / name / "posts.jsonl"])
    return workspace


@pytest.fixture(scope="module")
def workspace(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("desk") / "agency"
    with new_workspace(root, tiny_base, sample_folder, "fernwick", "moonmilk") as opened:
        yield opened


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> Training:
    """Fernwick's versions: 1 by LoRA, 2 by full fine-tuning."""
    lora = workspace.train(["fernwick"], settings=QUICK)
    full = workspace.train(["fernwick"], method="full", settings=QUICK)
    assert not lora.failed and not full.failed
    return Training(versions=(*lora.versions, *full.versions), failed=())


def test_clients_and_their_pages(workspace: Workspace, sample_folder: Path) -> None:
    infos = {info.name: info for info in workspace.clients()}
    assert list(infos) == ["fernwick", "moonmilk"]
    train, heldout = workspace.documents("fernwick")
    assert infos["fernwick"].documents == len(train) + len(heldout) == 30
    assert infos["fernwick"].style_guide
    assert max(page.date or "" for page in train) <= min(page.date or "" for page in heldout)
    assert workspace.style_guide("fernwick").prefer["yard"] == "garden"


def test_curating_again_makes_a_new_dataset(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    pages = sample_folder / "kestrel" / "posts.jsonl"
    with new_workspace(tmp_path / "w", tiny_base, sample_folder, "kestrel") as workspace:
        again = workspace.curate("kestrel", [pages])
        assert again.dataset == "kestrel/2"
        first, second = workspace.catalogue.entries("datasets", "kestrel")
        assert first.digest == second.digest, "the same pages, the same dataset"
        assert open_artifact(again.path).digest == second.digest


def test_versions_and_their_facts(trained: Training, workspace: Workspace) -> None:
    assert [item.version for item in trained.versions] == ["fernwick@1", "fernwick@2"]
    for item, method in zip(trained.versions, ("lora", "full"), strict=True):
        assert item.method == method
        assert item.heldout_loss < item.heldout_loss_before
        assert item.resumed_at == 0
        manifest = open_artifact(item.path).manifest
        assert manifest is not None
        assert manifest.facts["heldout_loss"] == item.heldout_loss
        assert manifest.facts["settings"]["max_steps"] == 2
        dataset = workspace.catalogue.latest("datasets", "fernwick")
        assert dataset is not None and manifest.inputs["dataset"] == dataset.digest
    left = (workspace.root / "runs" / "fernwick").glob("*/*")
    assert {path.name for path in left} == {"metrics.jsonl"}, "a finished run keeps its figures"
    assert not list((workspace.root / "artifacts" / ".new").iterdir())


def test_unknown_names_stop_training_before_it_starts(workspace: Workspace) -> None:
    count = len(list((workspace.root / "artifacts").rglob("manifest.json")))
    for clients, method in ((["moonmilk", "nobody"], "auto"), (["moonmilk"], "magic")):
        with pytest.raises(UnknownName, match=r"nobody|magic"):
            workspace.train(clients, method=method, settings=QUICK)
    with pytest.raises(InvalidInput, match=r"lora_rr.*learning_rate"):
        workspace.train(["moonmilk"], settings={"lora_rr": 3, "learning_rate": -1})
    assert len(list((workspace.root / "artifacts").rglob("manifest.json"))) == count
    assert not (workspace.root / "runs" / "moonmilk").exists()


def test_a_client_in_use_fails_alone(tiny_base: Path, sample_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    with new_workspace(root, tiny_base, sample_folder, "kestrel", "moonmilk") as workspace:
        with held(root / "locks", "kestrel", doing="trains it"):
            result = workspace.train(["kestrel", "moonmilk"], settings=QUICK)
            with pytest.raises(InUse, match="kestrel"):
                workspace.delete_client("kestrel")
        assert [item.version for item in result.versions] == ["moonmilk@1"]
        (failed,) = result.failed
        assert failed.client == "kestrel" and isinstance(failed.error, InUse)
        assert workspace.documents("kestrel")


def test_drafts_are_written_checked_and_kept(workspace: Workspace, trained: Training) -> None:
    pieces: list[str] = []
    (written,) = workspace.write("fernwick@1", [BRIEF], seed=3, on_text=pieces.append)
    draft = written.draft
    assert (draft.client, draft.version, draft.title) == ("fernwick", "fernwick@1", BRIEF.title)
    assert draft.slug == "sweet-peas-early"
    assert draft.text and pieces
    assert written.path.read_text("utf-8").startswith("---\ntitle: Sweet peas, early\n")
    assert written.path.parent == workspace.root / "clients" / "fernwick" / "drafts"
    assert draft in workspace.drafts()
    (again,) = workspace.write("fernwick@1", [BRIEF], seed=3)
    assert again.draft.text == draft.text
    assert again.path != written.path
    (other,) = workspace.write("fernwick@1", [BRIEF], seed=4)
    assert other.draft.text != draft.text
    # What is checked again from the file is found again, as the file keeps the text.
    (checked,) = workspace.check("fernwick", [written.path], brief=BRIEF)
    found = [item for item in draft.findings if item.rule != "cut-off"]
    assert list(checked.findings) == found


def test_the_newest_version_speaks(workspace: Workspace, trained: Training) -> None:
    (newest,) = workspace.write("fernwick", [BRIEF], temperature=0)
    assert newest.draft.version == "fernwick@2", "a fully fine-tuned version writes as well"
    with pytest.raises(UnknownName, match=r"fernwick@1, fernwick@2"):
        workspace.write("fernwick@3", [BRIEF])
    with pytest.raises(UnknownName, match="copydesk train moonmilk"):
        workspace.write("moonmilk", [BRIEF])


def test_briefs_that_the_client_cannot_meet_are_refused(
    workspace: Workspace, trained: Training
) -> None:
    with pytest.raises(InvalidInput, match=r"no format 'podcast'.*blog"):
        workspace.write("fernwick", [Brief(title="On peas", format="podcast")])
    german = "Die Erbsen und der Zaun: wie man sie mit dem Draht im Garten nicht verliert"
    with pytest.raises(InvalidInput, match=r"is in German, and fernwick's pages are in English"):
        workspace.write("fernwick", [Brief(title=german, format="blog")])
    with pytest.raises(InvalidInput, match="as 'pdf'"):
        workspace.write("fernwick", [BRIEF], to="pdf")


def test_checks_quote_the_training_pages(workspace: Workspace, tmp_path: Path) -> None:
    pages, _ = workspace.documents("fernwick")
    copied = " ".join(pages[0].text.split()[:60])
    draft = tmp_path / "draft.md"
    draft.write_text(f"# Copied\n\nIt is stunning. {copied}\n", encoding="utf-8")
    (checked,) = workspace.check("fernwick", [draft])
    families = {finding.family for finding in checked.findings}
    text = f"It is stunning. {copied}"
    spans = {text[finding.start : finding.end] for finding in checked.findings}
    assert "stunning" in spans
    assert "originality" in families
    assert workspace.training_index("fernwick") is not None


def test_peft_export_loads_in_peft_and_holds_nothing_of_ours(
    workspace: Workspace, trained: Training, tiny_base: Path, tmp_path: Path
) -> None:
    path = workspace.export("fernwick@1", to="peft", folder=tmp_path / "out" / "adapter")
    assert {item.name for item in path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(path))
    assert any("lora_B" in name and bool(p.any()) for name, p in model.named_parameters())
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["adapter"]


def test_merged_export_gives_the_adapters_logits(
    workspace: Workspace, trained: Training, tiny_base: Path, tmp_path: Path
) -> None:
    path = workspace.export("fernwick@1", to="merged", folder=tmp_path / "merged")
    ids = torch.tensor(
        [AutoTokenizer.from_pretrained(path)("Sweet peas go in early.")["input_ids"]]
    )
    merged = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    with torch.no_grad():
        plain = base(ids).logits
        tuned = PeftModel.from_pretrained(base, str(trained.versions[0].path))
        expected = tuned(ids).logits
        found = merged(ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)
    info = copydesk.desk.pull_base(str(path))
    assert info.path == path, "what was merged is a base of its own"


def test_full_export_is_the_version_itself(
    workspace: Workspace, trained: Training, tmp_path: Path
) -> None:
    path = workspace.export("fernwick@2", to="merged", folder=tmp_path / "full")
    stored = trained.versions[1].path
    weights = "model.safetensors"
    assert (path / weights).read_bytes() == (stored / weights).read_bytes()
    assert not (path / "manifest.json").exists()
    AutoModelForCausalLM.from_pretrained(path)


def test_exports_that_are_refused_leave_nothing(
    workspace: Workspace, trained: Training, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="merged"):
        workspace.export("fernwick@2", to="peft", folder=tmp_path / "a")
    with pytest.raises(InvalidInput, match="gguf"):
        workspace.export("fernwick@1", to="gguf", folder=tmp_path / "a")
    with pytest.raises(UnknownName):
        workspace.export("fernwick@9", to="peft", folder=tmp_path / "a")
    (tmp_path / "there").mkdir()
    with pytest.raises(AlreadyThere):
        workspace.export("fernwick@1", to="peft", folder=tmp_path / "there")
    assert [item.name for item in tmp_path.iterdir()] == ["there"]


def test_another_base_is_refused(workspace: Workspace, trained: Training, tmp_path: Path) -> None:
    copy = tmp_path / "agency"
    shutil.copytree(workspace.root, copy)
    other = write_tiny_base(tmp_path / "other", tied=False)
    (copy / "copydesk.toml").write_text(f'base = "{other}"\n', encoding="utf-8")
    with copydesk.open(copy) as moved:
        count = len(moved.drafts())
        with pytest.raises(WrongBase, match="other"):
            moved.write("fernwick@1", [BRIEF])
        with pytest.raises(WrongBase):
            moved.export("fernwick@1", to="merged", folder=tmp_path / "merged")
        assert not (tmp_path / "merged").exists()
        assert len(moved.drafts()) == count
        (written,) = moved.write("fernwick@2", [BRIEF], temperature=0)
        assert written.draft.text, "a fully fine-tuned version brings its own weights"


def test_a_tampered_adapter_is_refused(
    workspace: Workspace, trained: Training, tmp_path: Path
) -> None:
    copy = tmp_path / "agency"
    shutil.copytree(workspace.root, copy)
    file = copy / "artifacts" / "versions" / "fernwick" / "1" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with copydesk.open(copy) as opened:
        for use in (
            lambda: opened.write("fernwick@1", [BRIEF]),
            lambda: opened.export("fernwick@1", to="peft", folder=tmp_path / "out"),
            lambda: opened.compare("fernwick", methods=["lora"], settings=QUICK),
        ):
            with pytest.raises(Damaged, match=r"adapter_model\.safetensors"):
                use()
    assert not (tmp_path / "out").exists()


def test_a_comparison_takes_the_trained_adapter_and_is_kept(
    workspace: Workspace, trained: Training
) -> None:
    made = workspace.compare("fernwick", methods=["lora"], settings=QUICK)
    assert [row.method for row in made.rows] == ["base", "prompted", "lora"]
    lora = made.rows[2]
    assert lora.heldout_loss == pytest.approx(trained.versions[0].heldout_loss, abs=1e-5)
    assert lora.train_seconds == trained.versions[0].train_seconds, "not trained again"
    assert lora.others_loss is not None, "moonmilk's pages"
    assert workspace.comparisons() == (made,), "read back as it was made"
    with pytest.raises(UnknownName, match="magic"):
        workspace.compare("fernwick", methods=["lora", "magic"])
    with pytest.raises(InvalidInput, match="lora_rr"):
        workspace.compare("fernwick", methods=["lora", "full"], settings={"lora_rr": 2})
    with pytest.raises(InvalidInput, match="method"):
        workspace.compare("fernwick", methods=[])


# Deletion


def fill_with_canaries(root: Path, base: Path, samples: Path) -> None:
    """Everything that can hold a client's words: pages, guide, versions, runs, drafts, report."""
    with new_workspace(root, base, samples, "moonmilk") as workspace:
        guide = root.parent / "guide.md"
        guide.write_text(f"Sound like {CANARY}.", encoding="utf-8")
        pages = canary_pages(samples / "fernwick" / "posts.jsonl", root.parent / "pages.jsonl")
        workspace.add_client("acme", style_guide=guide)
        workspace.curate("acme", [pages])
        workspace.curate("acme", [pages])
        stops = iter([False, True])
        with pytest.raises(KeyboardInterrupt):
            workspace.train(
                ["acme"], settings=QUICK | {"max_steps": 5}, should_stop=lambda: next(stops)
            )
        workspace.train(["acme"], settings=QUICK)
        workspace.compare("acme", methods=["lora"], settings=QUICK)
        workspace.write("acme", [Brief(title=f"On {CANARY}", format="blog", length=20)])
        write_report(workspace)
    # A process that was killed while it curated.
    left = root / "artifacts" / ".new" / ".building-999999999-ab" / "train.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text(CANARY, encoding="utf-8")


@pytest.fixture(scope="module")
def full_of_canaries(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("canaries") / "agency"
    fill_with_canaries(root, tiny_base, sample_folder)
    return root


def holding(root: Path, words: str) -> set[str]:
    """Files below `root` that hold the words in their content or name."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if words in path.name.lower()
        or (path.is_file() and words.encode() in path.read_bytes().lower())
    }


def test_nothing_of_a_deleted_client_stays(full_of_canaries: Path, tmp_path: Path) -> None:
    root = tmp_path / "agency"
    shutil.copytree(full_of_canaries, root)
    places = {re.split(r"/", name)[0] for name in holding(root, CANARY)}
    assert places == {"artifacts", "clients", "report.html"}, "the canaries are where they can be"
    assert list((root / "runs" / "acme").glob("*/checkpoint-*")), "a run that was cut off"
    with copydesk.open(root) as workspace:
        moonmilk = workspace.documents("moonmilk")
        workspace.delete_client("acme")
        assert holding(root, CANARY) == set(), "already before the catalogue is closed"
        assert workspace.documents("moonmilk") == moonmilk
        assert [info.name for info in workspace.clients()] == ["moonmilk"]
        with pytest.raises(UnknownName):
            workspace.delete_client("acme")
    assert holding(root, CANARY) == set()
    lock = {"locks/acme.lock"}
    assert holding(root, "acme") <= lock, "not the name either, but for the lock's"
    with copydesk.open(root) as workspace:
        workspace.add_client("acme")
        with pytest.raises(UnknownName, match="no pages"):
            workspace.documents("acme")


DELETE = """
from copydesk import desk
workspace = desk.open_workspace(target)
ready()
workspace.delete_client("acme")
time.sleep(60)
"""


def test_a_deletion_that_was_killed_can_be_done_again(
    full_of_canaries: Path, tmp_path: Path
) -> None:
    cut_off = 0
    with nursery(DELETE) as children:
        for attempt in range(12):
            root = tmp_path / str(attempt)
            shutil.copytree(full_of_canaries, root)
            children.kill_after(attempt * 0.0015, root)
            with copydesk.open(root) as workspace:
                names = [info.name for info in workspace.clients()]
                if "acme" in names:
                    cut_off += 1
                    workspace.delete_client("acme")
                assert [info.name for info in workspace.clients()] == ["moonmilk"]
            assert holding(root, CANARY) == set()
            shutil.rmtree(root)
    assert cut_off > 1


def test_an_open_finds_the_nearest_workspace(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(workspace.root / "artifacts" / "datasets")
    with copydesk.open() as found:
        assert found.root == workspace.root
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match="copydesk init"):
        copydesk.open()
    with pytest.raises(UnknownName, match="no workspace"):
        copydesk.open(workspace.root / "artifacts")


def test_a_workspace_is_not_made_twice(workspace: Workspace, tmp_path: Path) -> None:
    before = (workspace.root / "copydesk.toml").read_bytes()
    with pytest.raises(AlreadyThere):
        copydesk.init(workspace.root)
    assert (workspace.root / "copydesk.toml").read_bytes() == before
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput):
            copydesk.init(place)


def test_a_client_with_a_bad_guide_is_not_added(workspace: Workspace, tmp_path: Path) -> None:
    bad = tmp_path / "guide.toml"
    bad.write_text("voice = 3\nbaned = []\n")
    with pytest.raises(InvalidInput, match="baned"):
        workspace.add_client("newcomer", style_guide=bad)
    with pytest.raises(InvalidInput, match="name"):
        workspace.add_client("New Comer")
    assert {info.name for info in workspace.clients()} == {"fernwick", "moonmilk"}
    assert not (workspace.root / "clients" / "newcomer").exists()
