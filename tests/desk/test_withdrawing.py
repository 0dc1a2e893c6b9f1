"""A page that its owner withdrew: left out from then on, and known wherever it was learned."""

import json
import shutil
from pathlib import Path

import pytest

import copydesk
from copydesk import Workspace
from copydesk.app.cli import main
from copydesk.desk import examine
from copydesk.desk._learned import Learned, write_learned
from copydesk.errors import Damaged, InvalidInput, UnknownName
from copydesk.records import Document
from copydesk.registry import add_version
from copydesk.store import Artifact, building

SITE = "https://fernwick.example/"


@pytest.fixture
def posts(sample_folder: Path, tmp_path: Path) -> Path:
    """Fernwick's pages with addresses."""
    file = tmp_path / "posts.jsonl"
    lines = (sample_folder / "fernwick" / "posts.jsonl").read_text("utf-8").splitlines()
    with file.open("w", encoding="utf-8") as out:
        for number, line in enumerate(lines):
            out.write(json.dumps({**json.loads(line), "url": f"{SITE}{number}"}) + "\n")
    return file


@pytest.fixture
def workspace(tiny_base: Path, posts: Path, tmp_path: Path) -> Workspace:
    root = tmp_path / "agency"
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    opened = copydesk.open(root)
    opened.add_client("fernwick")
    opened.curate("fernwick", [posts], right="owned")
    return opened


def version(workspace: Workspace, client: str, named: str = "tiny", **inputs: str) -> str:
    def fill(artifact: Artifact) -> None:
        (artifact.path / "weights").write_text(client)
        artifact.facts.update(method="lora", base=named)

    given = {"base": "b", "dataset": "d", "run": "r"} | inputs
    return add_version(workspace.catalogue, client, given, fill).name


def a_page(workspace: Workspace, part: int = 0) -> Document:
    page = workspace.documents("fernwick")[part][0]
    assert isinstance(page, Document) and page.url is not None
    return page


def texts(workspace: Workspace) -> set[str]:
    return {item.text for part in workspace.documents("fernwick") for item in part}


@pytest.mark.parametrize("by", ["url", "hash", "start of the hash"])
def test_a_withdrawn_page_is_left_out_and_what_learned_from_it_is_marked(
    workspace: Workspace, posts: Path, by: str
) -> None:
    page = a_page(workspace)
    dataset = workspace.catalogue.latest("datasets", "fernwick")
    assert dataset is not None
    learned = version(workspace, "fernwick", dataset=dataset.digest)
    version(workspace, "fernwick", dataset="another")
    what = {"url": page.url, "hash": page.sha256, "start of the hash": page.sha256[:12].upper()}
    result = workspace.withdraw("fernwick", what[by] or "", reason="they asked")
    assert [item.sha256 for item in result.pages] == [page.sha256]
    assert {(mark.kind, mark.name) for mark in result.marks} == {
        ("dataset", "fernwick/1"),
        ("version", learned),
    }
    assert workspace.withdrawn() == result.marks
    made = workspace.curate("fernwick", [posts], keep=[page.id])
    assert page.text not in texts(workspace)
    assert [item.id for item in made.rejected if item.rule == "withdrawn"] == [page.id]
    assert made.funnel[-1].step == "withdrawn" and made.funnel[-1].rejected == 1
    assert len(workspace.withdrawn()) == 2, "the new dataset is clean"
    notes = [item for item in examine(workspace.root).found if item.check == "withdrawals"]
    assert len(notes) == 2
    workspace.close()


def test_it_is_known_again_by_address_and_by_words(workspace: Workspace, posts: Path) -> None:
    page = a_page(workspace)
    workspace.withdraw("fernwick", page.url or "")
    lines = [json.loads(line) for line in posts.read_text("utf-8").splitlines()]
    for line in lines:
        if line["url"] == page.url:  # the same words elsewhere, and other words at the address
            moved = {**line, "url": f"{SITE}moved", "id": "moved"}
            line["body_markdown"] = line["body_markdown"].replace("e", "e ", 3) + "\n\nNew words."
            lines.append(moved)
            break
    posts.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    made = workspace.curate("fernwick", [posts])
    urls = {getattr(item, "url", None) for part in workspace.documents("fernwick") for item in part}
    assert page.url not in urls and f"{SITE}moved" not in urls
    assert any(item.rule == "withdrawn" for item in made.rejected)
    workspace.close()


def test_a_large_corpus_leaves_it_out_too(workspace: Workspace, posts: Path) -> None:
    page = a_page(workspace, part=1)
    before = len(texts(workspace))
    workspace.withdraw("fernwick", page.sha256)
    made = workspace.curate("fernwick", [posts], workers=1)
    assert page.text not in texts(workspace)
    assert made.kept == len(texts(workspace)) < before
    assert [item.rule for item in made.rejected].count("withdrawn") == 1
    assert made.funnel[-1].step == "withdrawn"
    assert examine(workspace.root).healthy, "the files are as the manifest says"
    workspace.close()


def test_foundations_and_versions_on_them_are_marked(workspace: Workspace, tiny_base: Path) -> None:
    from copydesk.models import BaseStore

    page = a_page(workspace)
    target = workspace.root / "bases" / "shared"
    keys = workspace.catalogue.keys
    with building(target, kind="base", inputs={"base": "x"}, keys=keys) as artifact:
        shutil.copytree(tiny_base, artifact.path, dirs_exist_ok=True)
        write_learned(artifact.path, Learned(datasets=frozenset(), pages=frozenset({page.sha256})))
    workspace.add_client("bolt")
    on_it = version(workspace, "bolt", base=BaseStore(target.parent).find(str(target)).digest)
    version(workspace, "bolt", base="clean")
    result = workspace.withdraw("fernwick", page.sha256)
    assert {(mark.kind, mark.name) for mark in result.marks} == {
        ("dataset", "fernwick/1"),
        ("foundation", "shared"),
        ("version", on_it),
    }
    workspace.close()


def test_histories_and_lineages_show_what_learned_from_it(
    workspace: Workspace, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from copydesk.models import BaseStore

    page = a_page(workspace)
    dataset = workspace.catalogue.latest("datasets", "fernwick")
    assert dataset is not None
    learned = version(workspace, "fernwick", dataset=dataset.digest)
    clean = version(workspace, "fernwick", dataset="another")
    target = workspace.root / "bases" / "shared"
    keys = workspace.catalogue.keys
    with building(target, kind="base", inputs={"base": "x"}, keys=keys) as artifact:
        shutil.copytree(tiny_base, artifact.path, dirs_exist_ok=True)
        write_learned(artifact.path, Learned(datasets=frozenset(), pages=frozenset({page.sha256})))
    workspace.add_client("bolt")
    digest = BaseStore(target.parent).find(str(target)).digest
    on_it = version(workspace, "bolt", base=digest, named="shared")
    assert workspace.history("fernwick").marks == ()
    workspace.withdraw("fernwick", page.sha256)
    found = workspace.history("fernwick")
    assert {item.version: item.withdrawn for item in found.versions} == {
        learned: True, clean: False,
    }  # fmt: skip
    assert {(mark.kind, mark.name) for mark in found.marks} == {
        ("dataset", "fernwick/1"), ("version", learned),
    }  # fmt: skip
    other = workspace.history("bolt")
    assert [item.withdrawn for item in other.versions] == [True]
    assert {mark.name for mark in other.marks} == {"shared", on_it}
    traced = workspace.lineage(learned)
    assert [item.sha256 for item in traced.pages if item.withdrawn] == [page.sha256]
    assert traced.withdrawn == 1 and not traced.base.withdrawn
    assert workspace.lineage(on_it).base.withdrawn
    workspace.close()

    def told(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--workspace", str(workspace.root)])
        assert not ended.value.code
        return capsys.readouterr().out

    assert "Withdrawn pages" in told("history", "fernwick") and "fernwick/1" in told(
        "history", "fernwick"
    )
    assert json.loads(told("history", "fernwick", "--json"))["versions"][0]["withdrawn"] is True
    assert "1 of the pages" in told("lineage", learned)
    assert "which learned from pages that were withdrawn" in told("lineage", on_it)


def test_what_names_no_page_is_refused(workspace: Workspace) -> None:
    for what in ("", "abc", "kettles", "12345", "zzzzzzzzzzzz"):
        with pytest.raises(InvalidInput, match="neither an address nor a hash"):
            workspace.withdraw("fernwick", what)
    for what in ("https://elsewhere.example/", "0" * 64):
        with pytest.raises(UnknownName, match="No dataset of fernwick"):
            workspace.withdraw("fernwick", what)
    with pytest.raises(UnknownName, match="nobody"):
        workspace.withdraw("nobody", "0" * 64)
    assert workspace.withdrawn() == ()
    workspace.close()


def test_it_survives_a_lost_catalogue_and_cannot_be_changed(workspace: Workspace) -> None:
    page = a_page(workspace)
    marks = workspace.withdraw("fernwick", page.sha256).marks
    workspace.close()
    for file in workspace.root.glob("copydesk.db*"):
        file.unlink()
    assert examine(workspace.root, repair=True).healthy
    with copydesk.open(workspace.root) as again:
        assert again.withdrawn() == marks
        (entry,) = again.catalogue.entries("withdrawals", "fernwick")
        file = entry.path / "withdrawn.json"
        file.write_bytes(file.read_bytes().replace(page.sha256.encode(), b"0" * 64))
        with pytest.raises(Damaged, match=r"withdrawn\.json"):
            again.withdrawn()


def test_it_goes_when_the_client_goes(workspace: Workspace) -> None:
    page = a_page(workspace)
    workspace.withdraw("fernwick", page.url or "")
    workspace.delete_client("fernwick")
    assert not list((workspace.root / "artifacts" / "withdrawals").glob("*"))
    workspace.close()


def test_the_command(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    page = a_page(workspace)
    workspace.close()
    with pytest.raises(SystemExit) as ended:
        main(
            ["client", "withdraw", "fernwick", page.url or "", "--json", "--workspace",
             str(workspace.root)]
        )  # fmt: skip
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["pages"][0]["sha256"] == page.sha256
    assert told["marks"][0]["name"] == "fernwick/1"
