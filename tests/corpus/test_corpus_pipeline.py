"""A corpus in parts: the same whoever works on it, the same as `curate`, and after a kill."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_corpus_cleaning import text

from copydesk.corpus import (
    CleanedCorpus,
    CurateSettings,
    Mapper,
    clean_corpus,
    curate,
    each_material,
    in_processes,
    in_ray,
)
from copydesk.corpus import _shards as shards
from copydesk.errors import InvalidInput, NotEnoughText

PAGES = 160


def corpus(folder: Path) -> Path:
    """Pages of five sites with menus, copies, rewrites, short and broken ones."""
    draw = random.Random(0)
    lines: list[str] = []
    for number in range(PAGES):
        body = text(number, sentences=12 + number % 9)
        if number % 16 == 5:
            body = text(number - 5, sentences=12 + (number - 5) % 9)
        if number % 16 == 9:
            words = text(number - 9, sentences=12 + (number - 9) % 9).split(" ")
            words[draw.randrange(len(words))] = "otherwise"
            body = " ".join(words)
        if number % 40 == 17:
            body = "Too short."
        site = number % 5
        page: dict[str, Any] = {
            "id": f"p{number:03}",
            "title": f"Page {number}",
            "text": f"Home | Shop | About site {site}\n\n{body}\n\nWrite to jo{number}@example.org",
            "date": f"20{10 + number % 12}-03-{1 + number % 28:02}",
            "url": f"https://site{site}.example/{number}",
        }
        lines.append(json.dumps(page))
    lines[30] = "{broken"
    path = folder / "corpus.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "PART_BYTES", 20_000)


def cleaned(
    path: Path, folder: Path, mapper: Mapper | None = None, **settings: Any
) -> CleanedCorpus:
    folder.mkdir(exist_ok=True)
    return clean_corpus(
        [path],
        folder,
        client="c",
        work=folder / "work",
        settings=CurateSettings(**settings),
        mapper=mapper,
    )


def ids(path: Path) -> list[str]:
    return [item.id for item in each_material(path)]


def test_it_keeps_what_curate_keeps(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    found = cleaned(path, tmp_path / "out")
    exactly = curate([path], client="c", settings=CurateSettings())
    kept = {item.id: item for item in (*exactly.train, *exactly.heldout)}
    sides = [list(each_material(tmp_path / "out" / f"{s}.jsonl")) for s in ("train", "heldout")]
    assert {item.id: item for side in sides for item in side} == kept
    assert found.funnel == exactly.funnel
    assert found.languages == {"en": found.languages["en"]}
    assert max(item.date or "" for item in sides[0]) <= min(item.date or "" for item in sides[1])
    rejections = [
        json.loads(line)
        for line in (tmp_path / "out" / "rejected.jsonl").read_text("utf-8").splitlines()
    ]
    told = {(one["line"], one["rule"]) for one in rejections}
    assert told == {(one.line, one.rule) for one in exactly.rejected}
    assert found.rejected == len(exactly.rejected) > 15


def test_two_workers_and_other_folders_give_the_same_hash(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    alone = cleaned(path, tmp_path / "a")
    together = cleaned(path, tmp_path / "b", in_processes(2))
    assert alone == together
    for name in ("train", "heldout", "rejected"):
        one, other = (tmp_path / side / f"{name}.jsonl" for side in "ab")
        assert one.read_bytes() == other.read_bytes()
    assert cleaned(path, tmp_path / "c", seed=1, split="seed").digest != alone.digest


def test_the_same_corpus_elsewhere_has_the_same_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: set[str] = set()
    for place in ("here", "else/where"):
        folder = tmp_path / place
        (folder / "more").mkdir(parents=True)
        lines = corpus(folder).read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / "corpus.jsonl").write_text("".join(lines[:60]), encoding="utf-8")
        (folder / "more" / "corpus.jsonl").write_text("".join(lines[60:]), encoding="utf-8")
        monkeypatch.chdir(folder)
        files = [Path("more/corpus.jsonl"), folder / "corpus.jsonl"]
        (folder / "out").mkdir()
        found = clean_corpus(files, folder / "out", client="c", work=folder / "work")
        digests.add(found.digest)
        sources = {
            page.source.rpartition(":")[0] for page in each_material(Path("out/train.jsonl"))
        }
        assert sources == {"corpus.jsonl", "more/corpus.jsonl"}
    assert len(digests) == 1


@pytest.mark.parametrize("field", ["text", "url", "title", "id"])
def test_half_a_surrogate_pair_is_a_rejection(tmp_path: Path, field: str) -> None:
    path = corpus(tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    page = json.loads(lines[3])
    lines[3] = json.dumps(page | {field: f"{page[field]} \ud800"})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cleaned(path, tmp_path / "out")
    rejected = (tmp_path / "out" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    found = [one for one in map(json.loads, rejected) if one["line"] == 4]
    assert [(one["rule"], field in one["reason"]) for one in found] == [("not-utf8", True)]


def test_the_parts_are_whole_lines_and_all_of_them(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    parts = list(shards.parts_of([path], client="c", work=tmp_path, settings=CurateSettings()))
    assert len(parts) > 5
    assert b"".join(part.content() for part in parts) == path.read_bytes()
    assert all(part.content().endswith(b"\n") for part in parts)


_RUN = """
import sys
from pathlib import Path
from copydesk.corpus import _shards, clean_corpus
_shards.PART_BYTES = 20_000
folder = Path(sys.argv[2])
clean_corpus([Path(sys.argv[1])], folder, client="c", work=folder / "work")
"""


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    folder = tmp_path / "killed"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", _RUN, str(path), str(folder)]) as child:
        while child.poll() is None and len(list(folder.glob("work/*clean.json"))) < 2:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
    before = {file: file.stat().st_mtime_ns for file in folder.glob("work/*clean.json")}
    assert len(before) >= 2
    resumed = cleaned(path, folder)
    assert resumed == cleaned(path, tmp_path / "whole")
    assert all(file.stat().st_mtime_ns == then for file, then in before.items())


_RUN_TWO = """
import sys
from pathlib import Path
from copydesk.corpus import clean_corpus, in_processes
if __name__ == "__main__":
    folder = Path(sys.argv[2])
    clean_corpus(
        [Path(sys.argv[1])] * 1, folder, client="c", work=folder / "work", mapper=in_processes(2)
    )
"""


def test_workers_end_with_the_one_that_is_killed(tmp_path: Path) -> None:
    page = json.loads(corpus(tmp_path).read_text("utf-8").splitlines()[0])
    large = tmp_path / "large.jsonl"
    large.write_text("".join(json.dumps({**page, "id": f"p{n}"}) + "\n" for n in range(40_000)))
    script = tmp_path / "run.py"
    script.write_text(_RUN_TWO)
    folder = tmp_path / "out"
    folder.mkdir()
    with subprocess.Popen([sys.executable, script, large, folder]) as child:
        workers: list[psutil.Process] = []
        while child.poll() is None and len(workers) < 2:
            workers = [
                one
                for one in psutil.Process(child.pid).children(recursive=True)
                if "spawn_main" in " ".join(one.cmdline())
            ]
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    gone, left = psutil.wait_procs(workers, timeout=60)
    assert len(gone) == 2 and not left


def test_keep_and_near_duplicates_hold_for_large_corpora_too(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    cleaned(path, tmp_path / "a", keep=frozenset({"p009"}))
    assert {"p000", "p009"} <= set(ids(tmp_path / "a" / "train.jsonl"))
    cleaned(path, tmp_path / "b")
    assert "p009" not in {*ids(tmp_path / "b/train.jsonl"), *ids(tmp_path / "b/heldout.jsonl")}


def test_other_files_and_too_few_pages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="JSON lines"):
        cleaned(tmp_path / "pages.csv", tmp_path / "a")
    few = tmp_path / "few.jsonl"
    few.write_text(corpus(tmp_path).read_text().split("\n")[0] + "\n")
    with pytest.raises(NotEnoughText, match="1 pages are left"):
        cleaned(few, tmp_path / "b")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_hash(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    path = corpus(tmp_path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        on_ray = cleaned(path, tmp_path / "ray", in_ray())
    finally:
        ray.shutdown()
    assert on_ray == cleaned(path, tmp_path / "here")
