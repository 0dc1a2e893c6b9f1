"""Commands about versions: JSON keys, exit codes, tables and errors that say what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gated import LOOSE, gated_workspace, set_config

from copydesk.app.cli import main
from copydesk.registry import history
from copydesk.store import Catalogue

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def root(tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions") / "agency"
    gated_workspace(folder, tiny_base, sample_folder).close()
    return folder


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "300")

    def in_process(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "--workspace", str(root)])
        assert isinstance(ended.value.code, int)
        said = capsys.readouterr()
        assert "fault in Copydesk" not in said.err, said.err
        return ended.value.code, said.out

    return in_process


def test_the_whole_way_of_a_version(run: Run, root: Path, tiny_base: Path) -> None:
    """One test, as each step needs what the one before it left."""
    code, out = run("promote", "fernwick@1", "--json")
    assert code == 1
    assert "copydesk eval fernwick@1" in json.loads(out)["error"]["todo"]

    code, out = run("eval", "fernwick@1", "--json")
    found: dict[str, Any] = json.loads(out)
    assert (code, found["version"], found["passed"]) == (0, "fernwick@1", True)
    for gate in found["gates"]:
        assert gate.keys() >= {"name", "value", "threshold", "passed"} and gate["passed"] is True
    set_config(root, tiny_base, LOOSE | {"forgetting": 0, "heldout_gain": 9})
    code, out = run("eval", "fernwick@1")
    assert code == 1 and "did not pass" in out and "heldout_gain" in out
    code, out = run("promote", "fernwick@1", "--json")
    assert code == 1 and "heldout_gain" in json.loads(out)["error"]["what"]
    set_config(root, tiny_base, LOOSE)
    assert run("eval", "fernwick@1")[0] == 0

    code, out = run("promote", "fernwick@1", "--json")
    assert code == 0 and json.loads(out)["version"] == "fernwick@1"
    code, out = run("promote", "fernwick@1", "--json")
    assert code == 2 and "speaks for fernwick already" in json.loads(out)["error"]["what"]
    code, out = run("promote", "fernwick@2", "--force", "--json")
    assert code == 2 and "--reason" in json.loads(out)["error"]["todo"]
    code, out = run("promote", "fernwick@2", "--canary", "0.25", "--force", "--reason", "try [it]")
    assert code == 0 and "25% of the requests" in out and "try [it]" in out
    code, out = run("history", "fernwick")
    assert code == 0 and "Canary: fernwick@2 0 findings" in out and "(forced)" in out
    code, out = run("rollback", "fernwick", "--json")
    assert code == 0 and json.loads(out)["action"] == "canary-stopped"

    code, out = run("history", "fernwick", "--json")
    found = json.loads(out)
    assert found["live"] == "fernwick@1" and found["canary"] is None
    assert [item["action"] for item in found["changes"]] == ["promote", "canary", "canary-stopped"]
    assert [item["gates"] for item in found["versions"]] == ["passed", "never asked"]
    code, out = run("rollback", "fernwick")
    assert code == 0 and "Back to fernwick@2" in out
    assert run("rollback", "fernwick", "--json")[0] == 2
    catalogue = Catalogue(root)
    assert len(history(catalogue, "fernwick")) == 4, "what was refused left no row"
    catalogue.close()


def test_differences_and_lineage_are_shown(run: Run, root: Path) -> None:
    code, out = run("diff", "fernwick@1", "fernwick@2")
    assert code == 0 and re.search(r"max_steps +2 +4", out) and "copydesk eval" in out
    code, out = run("diff", "fernwick@1", "fernwick@2", "--json")
    found = json.loads(out)
    assert found["settings"] == [{"name": "max_steps", "one": 2, "other": 4}]
    assert run("diff", "fernwick@1", "moonmilk@1", "--json")[0] == 2
    assert run("write", "--client", "fernwick@1", "--title", "Peas", "--length", "20")[0] == 0
    (draft,) = (root / "clients" / "fernwick" / "drafts").glob("*.md")
    code, out = run("lineage", draft)
    assert code == 0 and "fernwick@1" in out and "client only" in out
    code, out = run("lineage", draft, "--json")
    found = json.loads(out)
    assert len(found["pages"]) == 24
    assert found["pages"][0].keys() >= {"id", "source", "url", "right", "sha256"}
    assert found["pages"][0]["source"].endswith("posts.jsonl:1")  # in the table it may be folded
    report = (root / "report.html").read_text("utf-8")
    assert "Where fernwick@1 comes from" in report and "posts.jsonl:1" in report
    assert str(root.parent) not in report, "where files lie on the machine is not said"


def test_a_new_base_shows_and_offers_the_retrain(run: Run, root: Path, tiny_base: Path) -> None:
    code, out = run("client", "list")
    assert code == 0 and "moonmilk@1 speaks" in out and "stale" not in out
    set_config(root, "smollm2-135m", LOOSE)
    code, out = run("client", "list")
    assert code == 0 and out.count("stale") >= 2 and "copydesk train --all --stale" in out
    code, out = run("client", "list", "--json")
    assert all(client["stale"] for client in json.loads(out)["clients"])
    code, out = run("history", "moonmilk")
    assert code == 0 and "copydesk train --all --stale" in out
    set_config(root, tiny_base, LOOSE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "nobody"), "nobody"),
        (("eval", "fernwick@x"), "client@number"),
        (("promote", "fernwick"), "copydesk promote fernwick@NUMBER"),
        (("promote", "fernwick@9", "--force", "--reason", "x"), "fernwick@1, fernwick@2"),
        (("promote", "fernwick@2", "--force", "--reason", "x", "--canary", "1.5"), "between 0 and"),
        (("rollback", "nobody"), "nobody"),
        (("rollback", "moonmilk"), "copydesk promote moonmilk@NUMBER"),
        (("history", "nobody"), "nobody"),
        (("diff", "fernwick@1", "fernwick@7"), "fernwick@1, fernwick@2"),
        (("lineage", "gone.md"), "gone.md"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_callers_mistake_is_named(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out = run(*arguments, "--json")
    assert code == 2
    assert said in " ".join(filter(None, json.loads(out)["error"].values()))
