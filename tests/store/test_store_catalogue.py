"""The catalogue: clients and numbered artifacts, shared between processes and kills."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hard_kills import nursery

from copydesk.errors import AlreadyThere, Damaged, InvalidInput, UnknownName
from copydesk.store import Artifact, Catalogue, building, open_artifact

ADD = """
import os, sys, itertools
from pathlib import Path
from copydesk.store import Catalogue
root, most = Path(sys.argv[1]), int(sys.argv[2])
catalogue = Catalogue(root)
print("ready", flush=True)
sys.stdin.readline()
for number in range(most):
    def fill(made):
        (made.path / "text").write_text(f"{os.getpid()} {number}")
    catalogue.make(kind="notes", client="acme", inputs={"by": str(os.getpid())}, fill=fill)
"""
ADD_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from copydesk.errors import CopydeskError
from copydesk.store import Catalogue, building
root = Path(sys.argv[1])
catalogue = Catalogue(root)
with building(root / "staging", kind="note", inputs={}) as artifact:
    (artifact.path / "text").write_text("x")
size = (root / "copydesk.db-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    catalogue.add(artifact, kind="notes", client="acme")
except CopydeskError as error:
    assert artifact.path == root / "staging"
    print(type(error).__name__)
"""
ADD_FOREVER = """
catalogue = Catalogue(target)
ready()
for number in itertools.count():
    def fill(made):
        (made.path / "text").write_text(f"{os.getpid()} {number}")
    catalogue.make(kind="notes", client="acme", inputs={"by": str(os.getpid())}, fill=fill)
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Generator[Catalogue]:
    opened = Catalogue(tmp_path)
    yield opened
    opened.close()


def note(root: Path, text: str = "x") -> Artifact:
    with building(root / "staging" / text, kind="note", inputs={}) as artifact:
        (artifact.path / "text").write_text(text)
    return artifact


def start_adding(root: Path, most: int) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", ADD, str(root), str(most)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def end(child: subprocess.Popen[str]) -> int:
    code = child.wait(60)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    child.stdout.close()
    return code


def test_numbers_count_from_one_for_each_kind_and_client(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    for name in ("acme", "bolt"):
        catalogue.add_client(name)
    added = [
        catalogue.add(note(tmp_path, f"{kind}-{client}-{i}"), kind=kind, client=client)
        for i, (kind, client) in enumerate(
            [("notes", "acme"), ("notes", "acme"), ("notes", "bolt"), ("essays", "acme")]
        )
    ]
    assert [entry.number for entry in added] == [1, 2, 1, 1]
    assert catalogue.entries("notes", "acme") == (added[0], added[1])
    assert catalogue.latest("notes", "acme") == added[1]
    assert catalogue.latest("essays", "bolt") is None
    for entry in added:
        assert open_artifact(entry.path).digest == entry.digest
    assert not list((tmp_path / "staging").iterdir())


def test_what_was_added_is_there_after_reopening(tmp_path: Path) -> None:
    first = Catalogue(tmp_path)
    first.add_client("acme")
    entry = first.add(note(tmp_path), kind="notes", client="acme")
    first.close()
    again = Catalogue(tmp_path)
    assert again.entries("notes", "acme") == (entry,)
    assert [row.name for row in again.clients()] == ["acme"]
    again.close()


def test_a_folder_that_died_before_its_row_keeps_its_number(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    catalogue.add_client("acme")
    orphan = tmp_path / "artifacts" / "notes" / "acme" / "1"
    orphan.mkdir(parents=True)
    assert catalogue.add(note(tmp_path), kind="notes", client="acme").number == 2
    assert orphan.is_dir()


def test_a_row_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    """The log of the catalogue may not grow: the folder was moved, and its row fails."""
    catalogue = Catalogue(tmp_path)
    catalogue.add_client("acme")
    ran = subprocess.run(
        [sys.executable, "-c", ADD_WITHOUT_ROOM, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "NoRoom\n", ran.stderr
    assert not list((tmp_path / "artifacts" / "notes").rglob("text"))
    assert (tmp_path / "staging" / "text").is_file(), "it is where it was"
    assert catalogue.entries("notes", "acme") == ()
    assert catalogue.add(note(tmp_path), kind="notes", client="acme").number == 1
    catalogue.close()


def test_making_fills_places_and_lists(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.add_client("acme")

    def fill(artifact: Artifact) -> None:
        (artifact.path / "text").write_text("words")
        artifact.facts["count"] = 1

    entry = catalogue.make(kind="notes", client="acme", inputs={"from": "abc"}, fill=fill)
    assert entry == catalogue.latest("notes", "acme")
    opened = open_artifact(entry.path)
    assert opened.manifest is not None
    assert opened.manifest.inputs == {"from": "abc"}
    assert opened.manifest.facts == {"count": 1}
    assert opened.digest == entry.digest

    def fail(artifact: Artifact) -> None:
        (artifact.path / "text").write_text("half")
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        catalogue.make(kind="notes", client="acme", inputs={}, fill=fail)
    assert catalogue.entries("notes", "acme") == (entry,)
    assert not list((tmp_path / "artifacts" / ".new").iterdir())


def test_an_artifact_for_no_client_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    artifact = note(tmp_path)
    with pytest.raises(UnknownName, match="acme"):
        catalogue.add(artifact, kind="notes", client="acme")
    assert not (tmp_path / "artifacts").exists()
    catalogue.add_client("acme")
    assert catalogue.add(artifact, kind="notes", client="acme").number == 1


def test_removing_a_client_forgets_its_artifacts_only(catalogue: Catalogue, tmp_path: Path) -> None:
    for name in ("acme", "bolt"):
        catalogue.add_client(name)
        catalogue.add(note(tmp_path, name), kind="notes", client=name)
    catalogue.remove_client("acme")
    assert [row.name for row in catalogue.clients()] == ["bolt"]
    assert catalogue.entries("notes", "acme") == ()
    assert len(catalogue.entries("notes", "bolt")) == 1
    with pytest.raises(UnknownName, match="bolt"):
        catalogue.remove_client("acme")
    catalogue.add_client("acme")
    assert catalogue.entries("notes", "acme") == (), "a new client inherits nothing"


@pytest.mark.parametrize(
    "name", ["a", "9", "acme", "acme-garden-2", "a" * 63, "0-0"], ids=lambda name: name[:12]
)
def test_good_names(catalogue: Catalogue, name: str) -> None:
    catalogue.add_client(name)
    assert catalogue.client(name).name == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "Acme", "a b", "a/b", "..", "a.b", "a@1", "é", "a_b", "a\n", "a" * 64, "²"],
    ids=repr,
)
def test_bad_names_are_refused(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(InvalidInput, match="client's name"):
        catalogue.add_client(name)
    assert catalogue.clients() == ()


def test_a_name_is_taken_once(catalogue: Catalogue) -> None:
    catalogue.add_client("acme")
    with pytest.raises(AlreadyThere, match="acme"):
        catalogue.add_client("acme")


def test_an_unknown_client_is_answered_with_the_known(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownName, match="none yet"):
        catalogue.client("acme")
    catalogue.add_client("bolt")
    with pytest.raises(UnknownName, match=r"'acme'.*bolt"):
        catalogue.client("acme")


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"x"])
def test_garbage_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "copydesk.db").write_bytes(content)
    with pytest.raises(Damaged, match=r"copydesk\.db"):
        Catalogue(tmp_path)
    assert (tmp_path / "copydesk.db").read_bytes() == content


def test_a_catalogue_of_the_first_schema_keeps_its_rows_and_gets_the_new_tables(
    tmp_path: Path,
) -> None:
    raw = sqlite3.connect(tmp_path / "copydesk.db")
    raw.executescript(
        """
        CREATE TABLE clients (name TEXT PRIMARY KEY, created TEXT NOT NULL) STRICT;
        CREATE TABLE artifacts (
            kind TEXT NOT NULL,
            client TEXT NOT NULL REFERENCES clients (name) ON DELETE CASCADE,
            number INTEGER NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL,
            created TEXT NOT NULL, PRIMARY KEY (kind, client, number)
        ) STRICT;
        INSERT INTO clients VALUES ('acme', '2026');
        INSERT INTO artifacts VALUES ('versions', 'acme', 3, 'artifacts/x', 'd', '2026');
        PRAGMA user_version = 1;
        """
    )
    raw.close()
    opened = Catalogue(tmp_path)
    assert [entry.number for entry in opened.entries("versions", "acme")] == [3]
    assert opened.rows("SELECT count(*) FROM promotions") == [(0,)]
    opened.remove_client("acme")
    assert opened.rows("SELECT count(*) FROM artifacts") == [(0,)]
    opened.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    Catalogue(tmp_path).close()
    raw = sqlite3.connect(tmp_path / "copydesk.db")
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(Damaged, match="Upgrade Copydesk"):
        Catalogue(tmp_path)
    raw = sqlite3.connect(tmp_path / "copydesk.db")
    assert raw.execute("PRAGMA user_version").fetchone() == (99,)
    raw.close()


def test_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    first = Catalogue(tmp_path)
    first.add_client("acme")
    first.close()
    children = [start_adding(tmp_path, 25) for _ in range(2)]
    for child in children:
        go(child)
    assert [end(child) for child in children] == [0, 0]
    catalogue = Catalogue(tmp_path)
    entries = catalogue.entries("notes", "acme")
    catalogue.close()
    assert [entry.number for entry in entries] == list(range(1, 51))
    texts = {(entry.path / "text").read_text() for entry in entries}
    assert texts == {f"{child.pid} {number}" for child in children for number in range(25)}
    for entry in entries:
        assert open_artifact(entry.path).digest == entry.digest


def test_processes_may_make_the_catalogue_at_once(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from copydesk.store import Catalogue
print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    Catalogue(Path(sys.argv[1]) / str(number)).close()
"""
    for number in range(10):
        (tmp_path / str(number)).mkdir()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        go(child)
    assert [end(child) for child in children] == [0, 0, 0]


def test_every_listed_row_is_whole_after_kills(tmp_path: Path) -> None:
    first = Catalogue(tmp_path)
    first.add_client("acme")
    first.close()
    draw = random.Random(11)
    listed: tuple[tuple[int, str], ...] = ()
    with nursery(ADD_FOREVER) as children:
        for _ in range(30):
            children.kill_after(draw.uniform(0.0, 0.1), tmp_path)
            catalogue = Catalogue(tmp_path)
            entries = catalogue.entries("notes", "acme")
            catalogue.close()
            now = tuple((entry.number, entry.digest) for entry in entries)
            assert now[: len(listed)] == listed, "what was listed stays listed"
            for entry in entries[len(listed) :]:
                assert open_artifact(entry.path).digest == entry.digest
            listed = now
        (tmp_path / "artifacts" / ".new").mkdir(exist_ok=True)
        catalogue = Catalogue(tmp_path)
        last = catalogue.make(kind="notes", client="acme", inputs={}, fill=lambda made: None)
        catalogue.close()
    assert last.number > listed[-1][0]
    assert len(listed) > 10
    assert not list((tmp_path / "artifacts" / ".new").iterdir()), "nothing waits of the dead"
