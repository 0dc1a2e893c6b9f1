"""The README's Python example, run as it stands."""

import re
import shutil
from pathlib import Path

import pytest

README = Path(__file__).parent.parent.parent / "README.md"


def test_the_python_example_runs(
    tiny_base: Path,
    sample_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a tiny base in the cache under the default's name, so that it takes seconds."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    shutil.copytree(tiny_base, cache / "copydesk" / "bases" / "smollm2-135m")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    shutil.copy(sample_folder / "fernwick" / "posts.jsonl", work / "posts.jsonl")
    shutil.copy(sample_folder / "fernwick" / "style_guide.toml", work / "acme.toml")
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    shown = capsys.readouterr().out
    assert "24 pages to train on, 6 held out" in shown
    assert "acme@1" in shown
    drafts = list((work / "agency" / "clients" / "acme" / "drafts").glob("*.md"))
    assert [path.name for path in drafts] == ["0001-planting-garlic.md"]


def test_the_commands_it_names_exist() -> None:
    from typer.main import get_command

    from copydesk.app.cli import app

    group = get_command(app)
    named = set(re.findall(r"^copydesk (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named <= set(group.commands)  # type: ignore[attr-defined]
