"""The commands that read sites and search results, as a process would call them."""

import json
from pathlib import Path
from typing import Any

import pytest
from local_site import Site, article, serving

from copydesk.app.cli import main

EXPORT = {
    "query": "kettle",
    "results": [{"title": "A", "url": "https://a.example/"}, {"title": "no address"}],
    "suggestions": ["steel kettle"],
}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    """(exit code, the JSON document)."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--json"])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_exports_are_kept_and_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, file = tmp_path / "agency", tmp_path / "export.json"
    file.write_text(json.dumps(EXPORT))
    assert run(capsys, "init", root)[0] == 0
    code, said = run(capsys, "serp", "import", file, "--workspace", root)
    assert code == 0
    (page,) = said["pages"]
    assert (page["provider"], page["query"], page["results"]) == ("searxng", "kettle", 1)
    assert [(one["line"], one["rule"]) for one in said["rejected"]] == [(1, "no-url")]
    assert Path(said["path"]).is_dir()
    with pytest.raises(SystemExit) as ended:
        main(["serp", "import", str(file), "--workspace", str(root)])
    assert ended.value.code == 0
    assert (
        "kettle  (searxng)  1 results, 0 questions, 1 related searches" in capsys.readouterr().out
    )
    file.write_text("{}")
    code, said = run(capsys, "serp", "import", file, "--workspace", root)
    assert (code, said["error"]["where"]) == (2, f"{file}:1")


def test_a_site_is_curated(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = tmp_path / "agency"
    run(capsys, "init", root)
    run(capsys, "client", "add", "acme", "--workspace", root)
    with serving(Site()) as site:
        site.add("/page", article("Kettles"))
        arguments = ("curate", "acme", f"{site.address}/page", "--workspace", root)
        code, said = run(capsys, *arguments)
        assert (code, site.log) == (2, [])
        assert "private-address" in said["error"]["what"]
        code, said = run(capsys, *arguments, "--allow-private", "--right", "owned")
        assert code == 2
        assert "needs at least" in said["error"]["what"]
        assert site.paths()[-1] == "/page"
