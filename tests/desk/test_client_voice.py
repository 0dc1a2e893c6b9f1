"""The workspace's voices: fitted once, kept with the client, and part of what checks say."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_workspace import new_workspace

from copydesk import Brief, Workspace
from copydesk.errors import NotEnoughText, UnknownName

UNLIKE = (
    "It is hereby noted that the aforementioned party shall not, unless otherwise agreed, be held "
    "liable; moreover, such party has been notified thereof, and neither may object. "
)


@pytest.fixture(scope="module")
def workspace(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("voices") / "agency"
    with new_workspace(root, tiny_base, sample_folder, "fernwick", "moonmilk") as opened:
        yield opened


def kept(workspace: Workspace, client: str) -> list[str]:
    return sorted(path.name for path in (workspace.root / "cache" / client / "voice").iterdir())


def written(folder: Path, text: str) -> Path:
    file = folder / "draft.md"
    file.write_text(f"# A draft\n\n{text}\n", encoding="utf-8")
    return file


def test_a_clients_own_page_is_known_and_anothers_is_not(workspace: Workspace) -> None:
    _, own = workspace.documents("fernwick")
    voice = workspace.voice("fernwick")
    assert voice.facts["own_pages"] == 24
    known = [voice.judge(page.text).probability for page in own]
    unlike = voice.judge(UNLIKE * 4)
    assert sum(known) / len(known) > 0.5 > unlike.probability
    assert unlike.percentile.value < 5


def test_it_is_fitted_once_and_again_when_a_dataset_changes(
    workspace: Workspace, sample_folder: Path, tmp_path: Path
) -> None:
    first = workspace.voice("fernwick")
    (name,) = kept(workspace, "fernwick")
    file = workspace.root / "cache" / "fernwick" / "voice" / name / "voice.safetensors"
    before = file.stat().st_mtime_ns
    assert workspace.voice("fernwick").platt == first.platt
    assert file.stat().st_mtime_ns == before, "read, not fitted"
    file.write_bytes(b"damaged")
    assert workspace.voice("fernwick").platt == first.platt, "fitted again, to the same"
    lines = (sample_folder / "moonmilk" / "posts.jsonl").read_text("utf-8").splitlines()
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("\n".join(lines[:20]), encoding="utf-8")
    workspace.curate("moonmilk", [fewer])
    workspace.voice("fernwick")
    assert len(kept(workspace, "fernwick")) == 1
    assert kept(workspace, "fernwick") != [name], "learned against other pages"


def test_checks_say_how_a_draft_sounds(workspace: Workspace, tmp_path: Path) -> None:
    _, own = workspace.documents("fernwick")
    longest = max(own, key=lambda page: len(page.text))
    found: dict[str, tuple[str, str, str]] = {}
    for name, text in (("own", longest.text), ("unlike", UNLIKE * 4), ("short", "Too short.")):
        (checked,) = workspace.check("fernwick", [written(tmp_path, text)])
        (voice,) = [one for one in checked.findings if one.family == "voice"]
        assert list(checked.findings) == sorted(checked.findings, key=lambda one: one.start)
        found[name] = (voice.rule, voice.severity, voice.message)
    assert found["own"][:2] == ("percentile", "info")
    assert "of its 24 pages" in found["own"][2]
    assert found["unlike"][:2] == ("percentile", "warning")
    assert "Against it:" in found["unlike"][2]
    assert found["short"][:2] == ("too-short", "info")


def test_drafts_carry_the_voice(workspace: Workspace) -> None:
    trained = workspace.train(["fernwick"], settings={"max_steps": 1, "dtype": "float32"})
    assert not trained.failed
    (made,) = workspace.write("fernwick", [Brief(title="Oats", format="blog", length=20)])
    assert [one.family for one in made.draft.findings].count("voice") == 1
    assert made.draft in workspace.drafts()


def test_no_pages_no_voice(tiny_base: Path, sample_folder: Path, tmp_path: Path) -> None:
    with new_workspace(tmp_path / "w", tiny_base, sample_folder) as workspace:
        workspace.add_client("acme")
        (checked,) = workspace.check("acme", [written(tmp_path, UNLIKE * 4)])
        assert not [one for one in checked.findings if one.family == "voice"]
        with pytest.raises(UnknownName, match="no pages"):
            workspace.voice("acme")
        pages = tmp_path / "pages"
        pages.mkdir()
        drawn = random.Random(0)
        for number in range(12):
            words = ("".join(drawn.choices("abcdefgh", k=5)) for _ in range(20))
            text = f"---\ntitle: Page {number}\n---\nIt is the {' of the '.join(words)}.\n"
            (pages / f"{number}.md").write_text(text, encoding="utf-8")
        workspace.curate("acme", [pages])
        with pytest.raises(NotEnoughText, match="1,500 words"):
            workspace.voice("acme")
        (checked,) = workspace.check("acme", [written(tmp_path, UNLIKE * 4)])
        assert not [one for one in checked.findings if one.family == "voice"]


def test_a_deleted_client_is_in_no_voice(
    tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    with new_workspace(
        tmp_path / "w", tiny_base, sample_folder, "fernwick", "moonmilk"
    ) as workspace:
        workspace.voice("fernwick")
        workspace.voice("moonmilk")
        workspace.delete_client("moonmilk")
        assert not list((workspace.root / "cache").rglob("voice.json")), (
            "fernwick's was learned against moonmilk's pages"
        )
        assert workspace.voice("fernwick").facts["contrast_texts"] > 0
