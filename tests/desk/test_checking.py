"""Checks with a workspace behind them: a client's rules, and other clients' pages as hashes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import copydesk
from copydesk import Workspace
from copydesk.errors import InvalidInput
from copydesk.records import Document


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory, sample_folder: Path) -> Iterator[Workspace]:
    with copydesk.init(tmp_path_factory.mktemp("agency")) as workspace:
        for name in ("fernwick", "kestrel"):
            workspace.add_client(name)
            workspace.curate(name, [sample_folder / name / "posts.jsonl"])
        yield workspace


def test_another_clients_page_is_recognised_and_goes_with_its_client(
    agency: Workspace, tmp_path: Path
) -> None:
    page = agency.documents("fernwick")[0][0]
    assert isinstance(page, Document)
    draft = tmp_path / "copied.md"
    draft.write_text(f"# Ours\n\n{page.text}\n", encoding="utf-8")
    (checked,) = agency.check("kestrel", [draft])
    runs = [f for f in checked.findings if f.rule == "client-run"]
    assert runs
    assert all(f.severity == "error" for f in runs if f.end - f.start > 120)
    assert not any("fernwick" in f.message or page.title in f.message for f in checked.findings)
    (hashes,) = (agency.root / "cache" / "fernwick").glob("shingles-*.bin")
    words = page.text.split()
    assert " ".join(words[:3]).encode() not in hashes.read_bytes()
    assert (agency.root / "shingles.key").stat().st_mode & 0o077 == 0
    (own,) = agency.check("fernwick", [draft])
    assert not [f for f in own.findings if f.rule == "client-run"]
    agency.delete_client("fernwick")
    assert not hashes.exists()
    (after,) = agency.check("kestrel", [draft])
    assert not [f for f in after.findings if f.rule == "client-run"]


def test_a_clients_rules_styles_and_waivers(agency: Workspace, tmp_path: Path) -> None:
    draft = tmp_path / "draft.md"
    draft.write_text("# Ours\n\nWe utilize it! We do.\n")
    folder = agency.client_folder("kestrel")
    (folder / "styles" / "House").mkdir(parents=True)
    (folder / "styles" / "House" / "Terms.yml").write_text(
        "extends: substitution\nmessage: \"Use '%s'.\"\nswap:\n  utilize: use\n"
    )
    (folder / "rules.toml").write_text(
        '[rules."style/exclamation-marks"]\nmost = 0\n[waive]\n"evidence/author" = "All of us."\n'
    )
    (checked,) = agency.check("kestrel", [draft], waivers={"style/House.Terms": "As in law."})
    found = {f.rule: f.waived for f in checked.findings}
    assert found["House.Terms"] == "As in law."
    assert found["exclamation-marks"] is None
    assert found["author"] == "All of us."
    (folder / "rules.toml").write_text('[rules."style/exclamation"]\nmost = 0\n')
    with pytest.raises(InvalidInput, match=r"style/exclamation.*rules\.toml"):
        agency.check("kestrel", [draft])
    (folder / "rules.toml").unlink()


def test_files_of_one_check_are_compared(agency: Workspace, tmp_path: Path) -> None:
    text = " ".join(f"word{n % 50} and" for n in range(60))
    paths = [tmp_path / "one.md", tmp_path / "two.md"]
    for path in paths:
        path.write_text(f"# Ours\n\n{text}\n")
    first, second = agency.check("kestrel", paths)
    assert not [f for f in first.findings if f.rule == "near-duplicate"]
    (copy,) = [f for f in second.findings if f.rule == "near-duplicate"]
    assert "one.md" in copy.message
