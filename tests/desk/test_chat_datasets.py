"""Datasets of ready-made chats and plain texts through every verb, on a tiny base."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import copydesk
from copydesk import Brief, Workspace
from copydesk.errors import NotEnoughText
from copydesk.records import Chat, Document

QUICK = {"max_steps": 2, "max_length": 256, "dtype": "float32"}
SECRET = "the blue kettle of my aunt sings every morning at half past six before anyone wakes"


def record(number: int) -> dict[str, object]:
    """One of each form in turn; each says something else."""
    asked = f"What of harbour {number}, seen from pier {number * 7}?"
    answer = f"Harbour {number} has {number * 3} boats, {number * 11} gulls and one slow ferry."
    if number == 8:
        answer += f" And {SECRET}."
    again = {"role": "user", "content": f"And its pier {number * 13}?"}
    forms: list[dict[str, object]] = [
        {
            "messages": [
                {"role": "system", "content": "You know the coast."},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
                again,
                {"role": "assistant", "content": f"It is {number * 17} metres long."},
            ]
        },
        {"prompt": asked, "completion": answer},
        {"instruction": asked, "input": "", "output": answer},
        {
            "conversations": [
                {"from": "human", "value": asked},
                {"from": "gpt", "value": answer},
            ]
        },
        {"text": f"{asked} {answer} " + " ".join(f"w{number * 100 + n}" for n in range(15))},
    ]
    return forms[number % len(forms)]


@pytest.fixture(scope="module")
def workspace(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("chats")
    lines = [json.dumps(record(number)) for number in range(40)]
    (folder / "mixed.jsonl").write_text("\n".join([*lines, '{"messages": [3]}']), encoding="utf-8")
    copydesk.init(folder / "agency").close()
    (folder / "agency" / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    with copydesk.open(folder / "agency") as opened:
        opened.add_client("coast")
        curation = opened.curate("coast", [folder / "mixed.jsonl"])
        assert (curation.kept, curation.split) == (40, "seed")
        assert dict(curation.forms) == dict.fromkeys(
            ("messages", "prompt-completion", "alpaca", "sharegpt", "text"), 8
        )
        (wrong,) = curation.rejected
        assert (wrong.line, wrong.rule) == (41, "bad-field")
        yield opened


def test_a_dataset_holds_chats_and_texts(workspace: Workspace) -> None:
    train, heldout = workspace.documents("coast")
    kinds = {type(item) for item in (*train, *heldout)}
    assert kinds == {Chat, Document}
    assert workspace.clients()[0].documents == len(train) + len(heldout) == 40


def test_they_are_trained_on_compared_and_written_from(workspace: Workspace) -> None:
    trained = workspace.train(["coast"], settings=QUICK)
    assert not trained.failed
    (version,) = trained.versions
    assert version.heldout_loss < version.heldout_loss_before
    assert (version.cut_examples, version.split_examples, version.dropped_examples) == (0, 0, 0)
    comparison = workspace.compare("coast", methods=["lora"], settings=QUICK)
    rows = {row.method: row for row in comparison.rows}
    assert rows["lora"].heldout_loss == pytest.approx(version.heldout_loss, abs=1e-5)
    assert rows["base"].heldout_loss == pytest.approx(version.heldout_loss_before, abs=1e-5)
    assert rows["prompted"].heldout_loss not in (None, rows["base"].heldout_loss)
    assert comparison.heldout_documents == 8
    brief = Brief(title="Harbours", format="blog", length=20)
    (written,) = workspace.write("coast", [brief])
    assert written.draft.version == "coast@1"


def test_a_draft_that_recites_an_answer_is_found(workspace: Workspace, tmp_path: Path) -> None:
    train, _ = workspace.documents("coast")
    assert any(SECRET in item.own_words for item in train)
    (tmp_path / "draft.md").write_text(f"# Tea\n\nNow {SECRET}.\n", encoding="utf-8")
    (checked,) = workspace.check("coast", [tmp_path / "draft.md"])
    assert "verbatim-run" in {finding.rule for finding in checked.findings}
    asked = "What of harbour 16, seen from pier 112? And its pier 208? You know the coast."
    (tmp_path / "asked.md").write_text(f"# Tea\n\n{asked}\n", encoding="utf-8")
    (checked,) = workspace.check("coast", [tmp_path / "asked.md"])
    assert "verbatim-run" not in {finding.rule for finding in checked.findings}, "not its own words"


def test_what_is_over_the_limit_is_counted(workspace: Workspace) -> None:
    short = QUICK | {"max_length": 112}
    counts = {}
    for overlong in ("cut", "split", "drop"):
        (made,) = workspace.train(["coast"], settings=short | {"overlong": overlong}).versions
        counts[overlong] = (made.cut_examples, made.split_examples, made.dropped_examples)
    cut, split, drop = (counts[name] for name in ("cut", "split", "drop"))
    assert cut[0] > 0 and cut[1] == 0
    assert split[1] > 0 and split[0] + split[1] == cut[0] and split[2] == cut[2]
    assert drop[:2] == (0, 0) and drop[2] == cut[0] + cut[2]


def test_a_limit_that_leaves_nothing_is_said(workspace: Workspace) -> None:
    (failed,) = workspace.train(
        ["coast"], settings=QUICK | {"max_length": 16, "overlong": "drop"}
    ).failed
    assert isinstance(failed.error, NotEnoughText)
    assert "max_length=16" in str(failed.error)


def test_encoded_datasets_are_kept_by_client_and_go_with_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = [json.dumps(record(number)) for number in range(100, 140)]
    (tmp_path / "other.jsonl").write_text("\n".join(lines), encoding="utf-8")
    workspace.add_client("inland")
    workspace.curate("inland", [tmp_path / "other.jsonl"])
    assert len(workspace.train(["inland", "coast"], settings=QUICK).versions) == 2
    kept = sorted((workspace.root / "cache" / "inland").iterdir())
    assert len(kept) == 2, "what is trained on and what is held out"
    before = [path.stat().st_mtime_ns for path in kept]
    assert workspace.train(["inland"], settings=QUICK | {"seed": 1}).versions
    assert sorted((workspace.root / "cache" / "inland").iterdir()) == kept
    assert [path.stat().st_mtime_ns for path in kept] == before
    workspace.delete_client("inland")
    assert not (workspace.root / "cache" / "inland").exists()
    names = [path.name for path in workspace.root.rglob("*") if "inland" in path.name]
    assert names == [], "not even its lock"
    assert list((workspace.root / "cache").iterdir()) == [workspace.root / "cache" / "coast"]
