"""The installed command in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("copydesk")


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a script would, without a terminal."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def test_a_client_from_nothing_to_its_pages(tmp_path: Path, sample_folder: Path) -> None:
    made = run("init", "agency", "--json", folder=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    root = tmp_path / "agency"
    assert json.loads(made.stdout) == {"workspace": str(root)}
    below = root / "notes"
    below.mkdir()  # the nearest workspace upward is meant
    assert run("client", "add", "kestrel", folder=below).stdout.startswith("Added kestrel.")
    pages = sample_folder / "kestrel" / "posts.jsonl"
    curated = run("curate", "kestrel", pages, "--json", folder=below)
    assert curated.returncode == 0
    assert json.loads(curated.stdout)["kept"] == 36
    assert curated.stderr, "progress goes to standard error"

    (below / "empty.jsonl").write_bytes(b"")
    wrong = run("curate", "kestrel", "empty.jsonl", folder=below)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: The file is empty")
    assert "empty.jsonl" in wrong.stderr and wrong.stderr.count("\n") == 1

    draft = below / "draft.md"
    draft.write_text("# Bags\n\nA dry bag is stunning, they say, and it rolls shut.\n")
    (root / "clients" / "kestrel").mkdir(exist_ok=True, parents=True)
    (root / "clients" / "kestrel" / "style_guide.toml").write_text('banned = ["stunning"]\n')
    checked = run("check", "draft.md", "--client", "kestrel", "--json", folder=below)
    assert checked.returncode == 1
    (found,) = json.loads(checked.stdout)["drafts"]
    assert found["path"] == "draft.md"
    assert any(item["severity"] == "error" for item in found["findings"])


def test_a_mistake_is_one_line_however_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    wrong = run("client", "list", "--workspace", deep, folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1
    assert str(deep) in wrong.stderr
    assert "copydesk init" in wrong.stderr


def test_an_unknown_option_is_the_callers_mistake(tmp_path: Path) -> None:
    wrong = run("train", "x", "--metod", "lora", folder=tmp_path)
    assert wrong.returncode == 2
    assert "--metod" in wrong.stderr and "Traceback" not in wrong.stderr


LIGHT = """
import sys
from pathlib import Path
import copydesk
assert "torch" not in sys.modules, "import copydesk"
from copydesk.app.cli import main
folder, pages = sys.argv[1:]
draft = Path(folder) / "draft.md"
for words in (
    "--help", "train --help", f"init {folder}/w", f"client add acme --workspace {folder}/w",
    f"curate acme {pages} --workspace {folder}/w", f"client list --workspace {folder}/w",
    f"check {draft} --client acme --workspace {folder}/w",
    f"client delete acme --yes --workspace {folder}/w",
):
    try:
        main(words.split(" "))
    except SystemExit as ended:
        assert ended.code == 0, words
    heavy = {"torch", "transformers", "peft"} & set(sys.modules)
    assert not heavy, f"{words} imports {heavy}"
"""


def test_commands_that_need_no_model_do_not_import_torch(
    tmp_path: Path, sample_folder: Path
) -> None:
    if " " in str(tmp_path) or " " in str(sample_folder):
        pytest.skip("the script splits its words at spaces")
    (tmp_path / "draft.md").write_text("# Bags\n\nA dry bag rolls shut.\n")
    pages = sample_folder / "kestrel" / "posts.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, tmp_path, pages], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_library_speaks_for_itself(tmp_path: Path) -> None:
    """On AVX-512 BF16, bitsandbytes used to ask for a package as soon as it was imported."""
    listed = run("base", "list", "--json", folder=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert isinstance(json.loads(listed.stdout), dict)
