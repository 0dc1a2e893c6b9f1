"""The command line inside this process: keys of the JSON, exit codes, one clear line an error."""

import csv
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import disk_of
from typer.main import get_command

from copydesk.app.cli import app, main

QUICK = ("--set", "max_steps=2", "--set", "max_length=512", "--set", "dtype=float32")
Run = Callable[..., "Ran"]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document that is all of standard output."""
        return json.loads(self.out)

    @property
    def error_line(self) -> str:
        """The one line that says what is wrong."""
        assert "Traceback" not in self.err and "fault in Copydesk" not in self.err, self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("error:")]
        return line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    # Rich wraps at the terminal's width, which a person sets and a test should not depend on.
    monkeypatch.setenv("COLUMNS", "400")

    def run_in_process(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, said.out, said.err)

    return run_in_process


@pytest.fixture(scope="module")
def agency(tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two clients, one with pages; tests of a module share it."""
    root = tmp_path_factory.mktemp("cli") / "agency"
    guide = sample_folder / "fernwick" / "style_guide.toml"
    pages = sample_folder / "fernwick" / "posts.jsonl"

    def do(*arguments: object) -> None:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert ended.value.code == 0

    do("init", root)
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n')
    do("client", "add", "fernwick", "--style-guide", guide, "--workspace", root)
    do("client", "add", "empty", "--workspace", root)
    do("curate", "fernwick", pages, "--workspace", root)
    do("train", "fernwick", *QUICK, "--workspace", root)
    return root


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file but SQLite's own and the locks."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("copydesk.db") and "locks" not in path.parts
    }


def commands() -> list[tuple[str, ...]]:
    """The path of every command, and of the groups."""

    def walk(command: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        below = getattr(command, "commands", {})
        found = [path] if not below else []
        for name, item in below.items():
            found += walk(item, (*path, name))
        return found

    return walk(get_command(app), ())


def test_all_commands_are_there() -> None:
    assert {" ".join(path) for path in commands()} >= {
        *("init", "base pull", "base list", "client add", "client list", "client delete"),
        *("curate", "train", "compare", "write", "check", "export", "demo"),
    }


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_has_help_an_example_and_json(run: Run, path: tuple[str, ...]) -> None:
    ran = run(*path, "--help")
    assert ran.code == 0
    assert f"Example: copydesk {' '.join(path)}" in ran.out
    assert "--json" in ran.out
    if path[0] not in {"init", "demo"} and path != ("base", "list"):
        assert "--workspace" in ran.out


# What each command says as JSON


def test_init_and_client_commands(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "w"
    assert run("init", root, "--json").json == {"workspace": str(root)}
    made = run("client", "add", "acme", "--json", "--workspace", root)
    info = {"name": "acme", "documents": 0, "versions": 0, "style_guide": False}
    info |= {"live": None, "stale": False}
    assert made.json == {"client": info}
    assert run("client", "list", "--json", "--workspace", root).json == {"clients": [info]}
    plain = run("client", "list", "--workspace", root)
    assert plain.out == "acme  0 pages  0 versions  no style guide\n"
    gone = run("client", "delete", "acme", "--yes", "--json", "--workspace", root)
    assert (gone.code, gone.json["deleted"]) == (0, "acme")
    assert set(gone.json) == {"deleted", "receipt"}
    assert run("client", "list", "--json", "--workspace", root).json == {"clients": []}


def test_deleting_asks_and_takes_no_for_an_answer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "w"
    run("init", root)
    run("client", "add", "acme", "--workspace", root)
    answers = tmp_path / "answers"
    for answer, code, left in (("n\n", 130, 1), ("", 130, 1), ("y\n", 0, 0)):
        answers.write_text(answer)
        with answers.open() as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            ran = run("client", "delete", "acme", "--json", "--workspace", root)
        assert ran.code == code
        if code:
            assert ran.out.strip() == ""
        else:
            assert set(ran.json) == {"deleted", "receipt"} and ran.json["deleted"] == "acme"
            assert Path(ran.json["receipt"]["path"]).parent == root / "receipts"
        assert len(run("client", "list", "--json", "--workspace", root).json["clients"]) == left


def test_curate_reports_what_it_left_out(
    run: Run, agency: Path, sample_folder: Path, tmp_path: Path
) -> None:
    pages = tmp_path / "posts.jsonl"
    good = (sample_folder / "kestrel" / "posts.jsonl").read_text("utf-8")
    pages.write_text(good.rstrip("\n") + "\n{not json}\n", encoding="utf-8")
    run("client", "add", "kestrel", "--workspace", agency)
    ran = run("curate", "kestrel", pages, "--json", "--workspace", agency)
    assert ran.code == 0
    made = ran.json
    assert made.keys() >= {"client", "dataset", "kept", "train", "heldout", "rejected"}
    assert (made["client"], made["dataset"]) == ("kestrel", "kestrel/1")
    assert made["kept"] == made["train"] + made["heldout"] == 36
    (rejected,) = made["rejected"]
    assert rejected.keys() >= {"source", "line", "rule", "reason"}
    assert (rejected["source"], rejected["line"]) == (pages.name, 37)
    assert rejected["reason"]
    plain = run("curate", "kestrel", pages, "--workspace", agency)
    assert f"{pages.name}:37" in plain.out
    run("client", "delete", "kestrel", "--yes", "--workspace", agency)


def test_curate_counts_the_forms_of_ready_made_examples(
    run: Run, agency: Path, tmp_path: Path
) -> None:
    turns = [
        [
            {"role": "user", "content": f"What is tin {n}?"},
            {"role": "assistant", "content": f"Tin {n} holds {n * 7} leaves."},
        ]
        for n in range(20)
    ]
    records: list[object] = [{"messages": chat} for chat in turns[:12]]
    records += [{"prompt": ask, "completion": "Tea."} for ask in ("Which?", "Why so green?")]
    records += [{"messages": turns[13][1:]}]
    (tmp_path / "chats.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    run("client", "add", "tea", "--workspace", agency)
    given = ("curate", "tea", tmp_path / "chats.json", "--workspace", agency)
    made = run(*given, "--json").json
    assert made["forms"] == {"messages": 12, "prompt-completion": 2}
    assert made["kept"] == 14
    assert [item["rule"] for item in made["rejected"]] == ["not-alternating"]
    shown = run(*given).out
    assert "kept 14 examples" in shown
    assert "Forms: 12 messages, 2 prompt-completion." in shown
    assert f"chats.json:{made['rejected'][0]['line']}" in shown
    run("client", "delete", "tea", "--yes", "--workspace", agency)


def test_train_says_what_it_made(run: Run, agency: Path) -> None:
    ran = run("train", "fernwick", "--json", *QUICK, "--workspace", agency)
    assert ran.code == 0
    assert ran.json["failed"] == []
    (version,) = ran.json["versions"]
    assert version.keys() >= {
        *("client", "version", "method", "path", "heldout_loss", "train_seconds"),
        "peak_memory_bytes",
    }
    assert (version["client"], version["method"]) == ("fernwick", "lora")
    assert (Path(version["path"]) / "adapter_config.json").is_file()
    assert "2/2 steps" in ran.err, "progress goes to standard error"


def test_a_client_that_fails_does_not_stop_the_others(
    run: Run, agency: Path, sample_folder: Path
) -> None:
    pages = sample_folder / "moonmilk" / "posts.jsonl"
    run("client", "add", "moonmilk", "--workspace", agency)
    run("curate", "moonmilk", pages, "--workspace", agency)
    # Fernwick's shortest prompt has 125 tokens: no room is left for any of its answers.
    short = ("--set", "max_length=125", "--set", "max_steps=1", "--set", "dtype=float32")
    ran = run("train", "fernwick", "moonmilk", "--json", *short, "--workspace", agency)
    (made,) = ran.json["versions"]
    failed = {item["client"]: item["error"] for item in ran.json["failed"]}
    assert made["client"] == "moonmilk" and failed.keys() == {"fernwick"}
    assert made["dropped_examples"] > 0
    assert ran.code == 2
    for error in failed.values():
        assert "max_length" in error
        assert error in ran.err
    run("client", "delete", "moonmilk", "--yes", "--workspace", agency)


def test_compare_gives_the_rows_and_the_report(run: Run, agency: Path, tmp_path: Path) -> None:
    ran = run(
        *("compare", "fernwick", "--methods", "lora, full", "--json"),
        *("--csv", tmp_path / "rows.csv", "--markdown", tmp_path / "table.md"),
        *(*QUICK, "--workspace", agency),
    )
    assert ran.code == 0
    made = ran.json
    assert [row["method"] for row in made["rows"]] == ["base", "prompted", "lora", "full"]
    for row in made["rows"]:
        assert row.keys() >= {
            *("method", "status", "learning_rate", "trainable_parameters", "peak_memory_bytes"),
            *("train_seconds", "cost_usd", "heldout_loss", "heldout_loss_ci", "forgetting"),
            *("relative_performance", "relative_performance_ci", "artifact_bytes"),
            "tokens_per_second",
        }
        low, high = row["heldout_loss_ci"]
        assert low < row["heldout_loss"] < high
    assert made["verdict"] in Path(made["report"]).read_text().replace("&#39;", "'")
    with (tmp_path / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["heldout_loss"]) for line in lines] == [
        row["heldout_loss"] for row in made["rows"]
    ]
    assert made["verdict"] in (tmp_path / "table.md").read_text()
    judged = {(one["method"], one["aspect"]): one for one in made["qualitative"]}
    assert judged["lora", "storage"]["word"] in {"low", "medium", "high"}
    assert (made["clients"], made["budget_seconds"]) == (["fernwick"], None)


@pytest.mark.slow
def test_compare_within_a_budget_on_several_clients(
    run: Run, agency: Path, sample_folder: Path
) -> None:
    run("client", "add", "moonmilk", "--workspace", agency)
    run("curate", "moonmilk", sample_folder / "moonmilk" / "posts.jsonl", "--workspace", agency)
    ran = run(
        *("compare", "fernwick", "moonmilk", "--methods", "lora", "--budget", "5m", "--no-probe"),
        *("--json", *QUICK, "--workspace", agency),
    )
    assert ran.code == 0
    assert ran.json["client"] == "fernwick + moonmilk" and ran.json["budget_seconds"] == 300
    (row,) = [row for row in ran.json["rows"] if row["method"] == "lora"]
    assert len(row["swept"]) >= 3 and row["sweep_seconds"] > 0
    assert row["instruction_score"] is None
    assert row["predicted_peak_memory_bytes"] > 0 and row["predicted_epoch_seconds"] > 0
    run("client", "delete", "moonmilk", "--yes", "--workspace", agency)
    wrong = run("compare", "fernwick", "--budget", "soon", "--workspace", agency)
    assert wrong.code == 2 and "1h30m" in wrong.error_line


def test_write_and_check(run: Run, agency: Path, tmp_path: Path) -> None:
    brief = tmp_path / "brief.yaml"
    brief.write_text("title: Sweet peas\nkeyword: sweet peas\nlength: 20\n")
    ran = run("write", brief, "--client", "fernwick", "--json", "--workspace", agency)
    assert ran.code == 0
    (draft,) = ran.json["drafts"]
    assert draft.keys() >= {
        *("client", "version", "title", "slug", "meta_description", "text", "findings")
    }
    assert (draft["client"], draft["title"], draft["slug"]) == (
        "fernwick",
        "Sweet peas",
        "sweet-peas",
    )
    assert draft["version"].startswith("fernwick@")
    assert draft["text"] in Path(draft["path"]).read_text()
    flags = ("--title", "Tea", "--length", "20", "--temperature", "0")
    plain = run("write", "--client", "fernwick@1", *flags, "--workspace", agency)
    assert plain.code == 0
    assert "fernwick@1 wrote " in plain.out


def test_check_says_no_where_a_finding_is_an_error(run: Run, agency: Path, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.md", tmp_path / "good.md"
    bad.write_text("# Peas\n\nOur peas are stunning, we think, and they climb.\n")
    ran = run("check", bad, "--client", "fernwick", "--json", "--workspace", agency)
    assert ran.code == 1
    (checked,) = ran.json["drafts"]
    assert checked["path"] == str(bad)
    errors = [item for item in checked["findings"] if item["severity"] == "error"]
    assert errors
    text = bad.read_text().split("\n\n", 1)[1]
    for item in checked["findings"]:
        assert item.keys() >= {*("family", "rule", "severity", "start", "end", "message", "source")}
        assert 0 <= item["start"] <= item["end"] <= len(text)
    assert "stunning" in {text[item["start"] : item["end"]] for item in errors}
    plain = run("check", bad, "--client", "fernwick", "--workspace", agency)
    assert plain.code == 1 and "stunning" in plain.out
    run("client", "add", "lenient", "--workspace", agency)
    good.write_text("# Peas\n\n" + "Our peas climb the netting in the long bed by the wall.\n")
    fine = run("check", good, "--client", "lenient", "--json", "--workspace", agency)
    assert fine.code == 0
    severities = {item["severity"] for item in fine.json["drafts"][0]["findings"]}
    assert "error" not in severities
    run("client", "delete", "lenient", "--yes", "--workspace", agency)


def test_export(run: Run, agency: Path, tmp_path: Path) -> None:
    target = tmp_path / "adapter"
    ran = run("export", "fernwick@1", "--to", "peft", target, "--json", "--workspace", agency)
    assert (ran.code, ran.json) == (0, {"path": str(target)})
    assert (target / "adapter_model.safetensors").is_file()
    again = run("export", "fernwick@1", "--to", "peft", target, "--workspace", agency)
    assert again.code == 2 and str(target) in again.error_line


def test_bases(
    run: Run, tiny_base: Path, agency: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pulled = run("base", "pull", tiny_base, "--json").json["base"]
    assert pulled["path"] == str(tiny_base)
    assert len(pulled["digest"]) == 64
    assert run("base", "pull", "--json", "--workspace", agency).json["base"] == pulled
    assert run("base", "list", "--json").json == {"bases": []}
    shutil.copytree(tiny_base, tmp_path / "copydesk" / "bases" / "some--base")
    (listed,) = run("base", "list", "--json").json["bases"]
    assert (listed["name"], listed["digest"]) == ("some/base", pulled["digest"])


def test_deleting_takes_the_clients_drafts_out_of_the_report(
    run: Run, tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "w"
    run("init", root)
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n')
    for name in ("kestrel", "moonmilk"):
        run("client", "add", name, "--workspace", root)
        run("curate", name, sample_folder / name / "posts.jsonl", "--workspace", root)
        run("train", name, *QUICK, "--workspace", root)
        title = f"Words about {name}"
        flags = ("--title", title, "--length", "20", "--workspace", root)
        assert run("write", "--client", name, *flags).code == 0
    report = root / "report.html"
    assert "Words about kestrel" in report.read_text()
    assert run("client", "delete", "kestrel", "--yes", "--workspace", root).code == 0
    assert "Words about kestrel" not in report.read_text()
    assert "Words about moonmilk" in report.read_text()


# What the caller gets wrong


def write_bad_inputs(folder: Path) -> None:
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "binary.jsonl").write_bytes(bytes(range(256)) * 40)
    (folder / "binary.md").write_bytes(bytes(range(256)) * 40)
    page = {"id": "one", "title": "One", "body_markdown": "word " * 80}
    (folder / "few.jsonl").write_text(json.dumps(page) + "\n")
    (folder / "brief.yaml").write_text("title: 3\nkeywrod: x\n")
    (folder / "guide.toml").write_text("voic = 'x'\n")
    (folder / "nobase").mkdir()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("curate nobody {f}/few.jsonl", "nobody"),
        ("curate fernwick {f}/empty.jsonl", "empty.jsonl"),
        ("curate fernwick {f}/binary.jsonl", "binary.jsonl"),
        ("curate fernwick {f}/binary.md", "binary.md"),
        ("curate fernwick {f}/gone.jsonl", "gone.jsonl"),
        ("curate fernwick {f}/guide.toml", "guide.toml"),
        ("curate fernwick {f}/few.jsonl", "fernwick"),
        ("curate fernwick {f}/few.jsonl --column title", "title"),
        ("curate fernwick {f}/nobase", "nobase"),
        ("train nobody", "nobody"),
        ("train empty", "copydesk curate empty"),
        ("train fernwick --method magic", "magic"),
        ("train fernwick --set lora_r", "lora_r"),
        ("train fernwick --set =3", "=3"),
        ("train fernwick --set lora_r=many", "lora_r"),
        ("train fernwick --set lora_r=0", "lora_r"),
        ("train fernwick --set lora_q=3", "lora_q"),
        ("train fernwick --set learning_rate=nan", "learning_rate"),
        ("train fernwick --set dtype=int3", "int3"),
        ("train fernwick --method full --set lora_r=3", "lora_r"),
        ("compare nobody", "nobody"),
        ("compare empty", "empty"),
        ("compare fernwick --methods lora,magic", "magic"),
        ("compare fernwick --methods ,", "method"),
        ("compare fernwick --set lora_q=3", "lora_q"),
        ("compare fernwick --csv {f}", "is a folder"),
        ("compare fernwick --markdown {f}/none/table.md", "none"),
        ("write {f}/brief.yaml --client fernwick", "brief.yaml"),
        ("write {f}/gone.yaml --client fernwick", "gone.yaml"),
        ("write --client fernwick", "nothing to write"),
        ("write --title Tea", "--client"),
        ("write --title Tea --client nobody", "nobody"),
        ("write --title Tea --client fernwick@99", "fernwick@99"),
        ("write --title Tea --client fernwick@x", "fernwick@x"),
        ("write --title Tea --client empty", "empty"),
        ("check {f}/gone.md --client fernwick", "gone.md"),
        ("check {f}/binary.md --client fernwick", "binary.md"),
        ("check {f}/few.jsonl --client nobody", "nobody"),
        ("export fernwick@1 --to gguf {f}/out", "gguf"),
        ("export nobody@1 --to peft {f}/out", "nobody"),
        ("export fernwick@1 --to peft {f}/few.jsonl/out", "few.jsonl"),
        ("client add fernwick", "fernwick"),
        ("client add Fernwick", "Fernwick"),
        ("client add new --style-guide {f}/guide.toml", "voic"),
        ("client add new --style-guide {f}/gone.toml", "gone.toml"),
        ("client delete nobody --yes", "nobody"),
        ("base pull {f}/gone", "gone"),
        ("base pull {f}/nobase", "nobase"),
        ("base pull no-such-base", "no-such-base"),
    ],
)
def test_a_mistake_gets_one_line_and_changes_nothing(
    run: Run, agency: Path, tmp_path: Path, arguments: str, named: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_bad_inputs(folder)
    inputs, before = snapshot(folder), snapshot(agency)
    words = [word.format(f=folder) for word in arguments.split(" ")]
    ran = run(*words, "--workspace", agency)
    assert ran.code == 2, ran.err
    assert named in ran.error_line
    assert ran.out == ""
    assert snapshot(agency) == before
    assert snapshot(folder) == inputs
    as_json = run(*words, "--workspace", agency, "--json")
    assert as_json.code == 2
    assert as_json.json.keys() == {"error"}
    said = as_json.json["error"]
    assert said["what"] and named in " ".join(str(part) for part in said.values())


def test_a_layer_that_the_base_lacks_fails_the_client_alone(run: Run, agency: Path) -> None:
    words = ("train", "fernwick", "--set", "target_modules=q_prod", "--workspace", agency)
    ran = run(*words)
    assert ran.code == 2, ran.err
    assert "q_prod" in ran.error_line
    as_json = run(*words, "--json")
    assert as_json.code == 2
    (failed,) = as_json.json["failed"]
    assert failed["client"] == "fernwick" and "q_prod" in failed["error"]
    assert as_json.json["versions"] == []


def test_a_workspace_cannot_be_made_over_another(run: Run, agency: Path, tmp_path: Path) -> None:
    before = snapshot(agency)
    for place in (agency, agency / "copydesk.toml", agency / "copydesk.toml" / "below"):
        ran = run("init", place)
        assert ran.code == 2
        assert str(place) in ran.error_line
    assert snapshot(agency) == before


def test_no_workspace(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("client", "list"), ("train", "acme"), ("base", "pull")):
        ran = run(*words)
        assert ran.code == 2
        assert "copydesk init" in ran.error_line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('bse = "x"\n', "bse"),
        ("heldout_share = 2\nseed = -1\n", "heldout_share"),
        ("heldout_share = 2\nseed = -1\n", "seed"),
        ("split = 'both'\n", "split"),
        ("base = \n", "TOML"),
        ("\ufeff\x00", "TOML"),
    ],
)
def test_bad_settings_of_a_workspace(run: Run, tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "copydesk.toml").write_text(text)
    ran = run("client", "list", "--workspace", tmp_path)
    assert ran.code == 2
    assert named in ran.error_line
    assert "copydesk.toml" in ran.error_line
    assert [path.name for path in tmp_path.iterdir()] == ["copydesk.toml"]


def test_a_base_that_was_not_pulled(
    run: Run, sample_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "w"
    run("init", root)
    run("client", "add", "kestrel", "--workspace", root)
    run("curate", "kestrel", sample_folder / "kestrel" / "posts.jsonl", "--workspace", root)
    before = snapshot(root)
    for words in (("train", "kestrel"), ("compare", "kestrel")):
        ran = run(*words, "--workspace", root)
        assert ran.code == 2
        assert "copydesk base pull smollm2-135m" in ran.error_line
    assert snapshot(root) == before


@pytest.mark.parametrize("words", [("train",), ("train", "acme", "--all")])
def test_train_wants_clients_or_all(run: Run, words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert "use --all" in ran.error_line


@pytest.mark.parametrize(
    "words",
    [("curate",), ("nonsense",), ("train", "x", "--nonsense"), ("init", "a", "b")],
)
def test_usage_errors(
    run: Run, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*words)
    assert ran.code == 2
    assert "Error:" in ran.err and ran.out == ""
    as_json = run(*words, "--json")
    assert as_json.code == 2
    assert as_json.json["error"]["what"]


def test_a_damaged_catalogue_is_the_machines_fault(run: Run, tmp_path: Path) -> None:
    run("init", tmp_path / "w")
    (tmp_path / "w" / "copydesk.db").write_bytes(b"garbage" * 1000)
    ran = run("client", "list", "--workspace", tmp_path / "w")
    assert ran.code == 3
    assert "copydesk.db" in ran.error_line


def test_nothing_said_shows_the_help(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "Usage:" in ran.out + ran.err
    assert "Traceback" not in ran.err


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(run: Run, agency: Path) -> None:
    command = ("train", "fernwick", "--json", *QUICK, "--set", "max_steps=400")
    earlier = set(agency.glob("runs/fernwick/*/metrics.jsonl"))

    def has_stepped() -> bool:
        logs = set(agency.glob("runs/fernwick/*/metrics.jsonl")) - earlier
        return any(log.stat().st_size for log in logs)

    def interrupt_after_a_step() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if has_stepped():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.001)

    previous = signal.getsignal(signal.SIGINT)
    helper = threading.Thread(target=interrupt_after_a_step)
    helper.start()
    stopped = run(*command, "--workspace", agency)
    helper.join()
    assert stopped.code == 130
    assert stopped.out == ""
    assert "Stopping after this step" in stopped.err
    assert "Run the same command again to go on" in stopped.err
    assert signal.getsignal(signal.SIGINT) == previous
    (checkpoint,) = agency.glob("runs/fernwick/*/checkpoint-*")
    resumed_at = int(checkpoint.name.split("-")[1])
    assert 1 <= resumed_at < 400
    again = run(*command, "--workspace", agency)
    assert again.code == 0
    assert again.json["versions"][0]["resumed_at"] == resumed_at


def test_a_full_disk_is_the_machines_fault(
    run: Run, tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    with disk_of("420k", tmp_path / "disk") as disk:
        root = disk / "w"
        run("init", root)
        (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\ncheckpoint_seconds = 0\n')
        run("client", "add", "kestrel", "--workspace", root)
        pages = sample_folder / "kestrel" / "posts.jsonl"
        assert run("curate", "kestrel", pages, "--workspace", root).code == 0
        for method in ("lora", "full"):
            ran = run("train", "kestrel", "--method", method, *QUICK, "--workspace", root)
            assert ran.code == 3, ran.err
            assert "disk is full" in ran.error_line
            (listed,) = run("client", "list", "--json", "--workspace", root).json["clients"]
            assert listed["versions"] == 0
            assert not list(root.rglob(".building-*"))


def test_a_read_only_workspace_is_the_machines_fault(run: Run, tmp_path: Path) -> None:
    with disk_of("1m", tmp_path / "disk") as disk:
        root = disk / "w"
        run("init", root)
        run("client", "add", "acme", "--workspace", root)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for words in (("client", "add", "bolt"), ("client", "delete", "acme", "--yes")):
            ran = run(*words, "--workspace", root)
            assert ran.code == 3
            assert "may not be written" in ran.error_line
            assert str(root) in ran.error_line
        made = run("init", disk / "other")
        assert made.code == 3 and "may not be written" in made.error_line


def test_train_takes_a_recipe(agency: Path, run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.toml"
    recipe.write_text('method = "lora"\nlora_r = 3\nmax_steps = 5\ndtype = "float32"\n')
    words = ("train", "fernwick", "--recipe", recipe, "--set", "max_steps=1", "--json")
    (version,) = run(*words, "--workspace", agency).json["versions"]
    config = json.loads((Path(version["path"]) / "adapter_config.json").read_text())
    assert (version["method"], config["r"], version["steps"]) == ("lora", 3, 1)
    clash = run(*words, "--method", "full", "--workspace", agency)
    assert clash.code == 2 and "recipe is for lora" in clash.error_line
    recipe.write_text('method = "lora"\nlora_rank = 3\nepochs = 0\n')
    wrong = run(*words, "--workspace", agency)
    assert wrong.code == 2
    assert all(part in wrong.error_line for part in ("lora_rank", "epochs", "quick.toml"))
