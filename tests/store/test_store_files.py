"""Small files under kills, full disks and read-only folders; locks between processes."""

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from conftest import disk_of
from hard_kills import nursery

from copydesk.errors import Damaged, InUse, InvalidInput, NoRoom
from copydesk.store import Catalogue, append_line, building, held, replace_bytes

REPLACE_FOREVER = """
for number in itertools.count():
    replace_bytes(target, bytes([number % 256]) * (100_000 + number % 256))
    if number == 0:
        ready()
"""
HOLD = """
import sys, time
from pathlib import Path
from copydesk.store import held
with held(Path(sys.argv[1]), "acme", doing="trains it"):
    print("ready", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def child_of(script: str, *arguments: object) -> Generator[subprocess.Popen[str]]:
    """A child that has said `ready`; killed hard at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 1 MiB."""
    with disk_of("1m", tmp_path / "small") as folder:
        yield folder


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """A read-only file system with one old file."""
    (small_disk / "old.txt").write_text("old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    return small_disk


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with pytest.raises(OSError, match="No space"), (folder / "ballast").open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()


def test_replacing_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    draw = random.Random(3)
    path = tmp_path / "state"
    seen: set[int] = set()
    parts = 0
    with nursery(REPLACE_FOREVER) as children:
        for _ in range(60):
            children.kill_after(draw.uniform(0.0, 0.03), path)
            content = path.read_bytes()
            assert content == bytes([content[0]]) * (100_000 + content[0])
            seen.add(content[0])
            parts += len(list(tmp_path.glob("*.part"))) + len(list(tmp_path.glob(".*.part")))
            replace_bytes(path, b"last")
            assert [item.name for item in tmp_path.iterdir()] == ["state"]
    assert len(seen) > 3, "the kills hit different moments"
    assert parts > 5, "some hit the middle of a write"


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, {"b": 1, "a": "é"})
    append_line(path, {})
    assert path.read_text("utf-8").splitlines()[1] == "{}"
    assert path.read_text("utf-8").count("\n") == 2


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "state"
    replace_bytes(path, b"old")
    fill(small_disk)
    with pytest.raises(NoRoom, match="full") as caught:
        replace_bytes(path, bytes(100_000))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert {item.name for item in small_disk.iterdir()} == {"state", "ballast"}


def test_a_limit_on_file_sizes_is_no_room_and_leaves_the_old_file(tmp_path: Path) -> None:
    """What a full disk does, where nobody may mount one."""
    path = tmp_path / "state"
    replace_bytes(path, b"old")
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from copydesk.errors import NoRoom; from copydesk.store import building, replace_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "path = Path(sys.argv[1])\n"
        "try: replace_bytes(path, bytes(100_000))\n"
        "except NoRoom as error: print(str(path) in str(error))\n"
        "try:\n"
        "    with building(path.with_name('big'), kind='thing', inputs={}) as artifact:\n"
        "        (artifact.path / 'a').write_bytes(bytes(100_000))\n"
        "except NoRoom: print('built nothing')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
    )
    assert ran.stdout == "True\nbuilt nothing\n", ran.stderr
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["state"]


def test_a_full_disk_leaves_nothing_of_a_build(small_disk: Path) -> None:
    target = small_disk / "big"

    def build() -> None:
        with building(target, kind="thing", inputs={}) as artifact:
            for number in range(40):
                (artifact.path / str(number)).write_bytes(bytes(50_000))

    with pytest.raises(NoRoom, match="full"):
        build()
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_is_no_room_for_the_catalogue(small_disk: Path) -> None:
    catalogue = Catalogue(small_disk)
    catalogue.add_client("first")
    fill(small_disk)

    def add_many() -> None:
        for number in range(2000):
            catalogue.add_client(f"client-{number}")

    with pytest.raises(NoRoom, match="full"):
        add_many()
    (small_disk / "ballast").unlink()
    known = [row.name for row in catalogue.clients()]
    assert "first" in known
    catalogue.add_client("after")
    catalogue.close()
    again = Catalogue(small_disk)
    assert [row.name for row in again.clients()] == sorted([*known, "after"])
    again.close()


def test_no_room_to_make_a_catalogue(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(NoRoom):
        Catalogue(small_disk)


def test_a_read_only_folder_is_no_room(read_only_disk: Path) -> None:
    def build() -> None:
        with building(read_only_disk / "thing", kind="thing", inputs={}):
            pass

    def hold() -> None:
        with held(read_only_disk / "locks", "acme", doing="trains it"):
            pass

    def hold_here() -> None:
        with held(read_only_disk, "acme", doing="trains it"):
            pass

    for act in (
        lambda: replace_bytes(read_only_disk / "old.txt", b"new"),
        lambda: append_line(read_only_disk / "old.txt", {}),
        lambda: Catalogue(read_only_disk),
        build,
        hold,
        hold_here,
    ):
        with pytest.raises(NoRoom, match="may not be written") as caught:
            act()
        assert str(read_only_disk) in str(caught.value)
    assert (read_only_disk / "old.txt").read_text() == "old"


def test_a_file_where_a_folder_should_be_is_the_callers_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "below", tmp_path / ("long" * 100)):
        with pytest.raises(InvalidInput, match="path") as caught:
            replace_bytes(path, b"new")
        assert str(path) in str(caught.value)


def test_errors_that_are_not_of_storage_pass_unchanged(tmp_path: Path) -> None:
    with (
        pytest.raises(Damaged, match="by me"),
        building(tmp_path / "a", kind="thing", inputs={}),
    ):
        raise Damaged("by me")


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    with child_of(HOLD, tmp_path) as child:
        with (
            pytest.raises(InUse, match=rf"acme is in use by process {child.pid}, which trains it"),
            held(tmp_path, "acme", doing="deletes it"),
        ):
            pytest.fail("the lock is held elsewhere")
        with held(tmp_path, "other", doing="trains it"):
            pass  # another name is free
    with held(tmp_path, "acme", doing="deletes it"):
        assert str(os.getpid()) in (tmp_path / "acme.holder").read_text()
        with pytest.raises(InUse), held(tmp_path, "acme", doing="x"):
            pytest.fail("held by this very process")
    with held(tmp_path, "acme", doing="deletes it again"):
        pass


def test_a_lock_is_released_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), held(tmp_path, "acme", doing="fails"):
        raise RuntimeError
    with held(tmp_path, "acme", doing="goes on"):
        pass
