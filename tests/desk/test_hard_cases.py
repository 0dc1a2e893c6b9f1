"""A full disk, a read-only one, and processes that want the same client at once."""

import contextlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch
from conftest import disk_of

import copydesk
from copydesk import Workspace
from copydesk.desk import Examination, examine
from copydesk.errors import InUse, NoRoom
from copydesk.models import BaseStore, find_method, load_base
from copydesk.registry import add_version, find_version, history, live_version, promote
from copydesk.registry._promotion import Standard
from copydesk.store import Artifact, held

CANARY = "zanzibarine"
ADD = """
import sys, time
from pathlib import Path
from copydesk import desk
from copydesk.desk._using import using
from copydesk.errors import InUse, UnknownName
from copydesk.registry import add_version

def fill(made):
    (made.path / "weights").write_text("CANARY" * 2000)
    made.facts["method"] = "lora"

workspace = desk.open_workspace(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
added, refused = 0, "nothing"
until = time.monotonic() + 100
while time.monotonic() < until:
    try:
        with using(workspace._place, "acme", doing="adds to it"):
            add_version(workspace.catalogue, "acme", {"base": "b"}, fill)
            added += 1
    except UnknownName:
        refused = "gone"
        break
    except InUse as error:
        assert "deleted" in str(error) or "busy" in str(error), error
        time.sleep(0.002)
print(added, refused, flush=True)
"""
DELETE = """
import sys, time
from copydesk import desk
from copydesk.errors import InUse
workspace = desk.open_workspace(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
time.sleep(0.3)
refused = 0
while True:
    try:
        workspace.delete_client("acme")
        break
    except InUse as error:
        assert "process" in str(error), error
        refused += 1
        time.sleep(0.003)
print("deleted", refused, flush=True)
"""


def add(workspace: Workspace, client: str, size: int = 10) -> None:
    def fill(artifact: Artifact) -> None:
        (artifact.path / "weights").write_bytes(b"w" * size)
        artifact.facts["method"] = "lora"

    add_version(workspace.catalogue, client, {"base": "b", "dataset": "d"}, fill)


def filled(root: Path) -> Path:
    with copydesk.init(root) as workspace:
        for client in ("acme", "bolt"):
            workspace.add_client(client)
            add(workspace, client, 30_000)
            drafts = workspace.client_folder(client) / "drafts"
            drafts.mkdir(parents=True)
            (drafts / "0001-x.md").write_text(CANARY if client == "acme" else "words")
    return root


def state(root: Path) -> tuple[set[str], set[tuple[str, str, int, str]]]:
    with copydesk.open(root) as workspace:
        clients = {row.name for row in workspace.catalogue.clients()}
        return clients, {
            (entry.kind, entry.client, entry.number, entry.digest)
            for entry in workspace.catalogue.listed()
        }


def said(found: Examination) -> list[str]:
    return [f"{item.check}: {item.what}" for item in found.found]


# A disk that is full


@contextlib.contextmanager
def files_of_at_most(limit: int) -> Generator[None]:
    """No file may grow beyond so many bytes, as on a disk that fills up at that point."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused_for_room(workspace: Workspace, act: Callable[[Workspace], object], limit: int) -> bool:
    try:
        with files_of_at_most(limit):
            act(workspace)
    except NoRoom:
        return True
    return False


def delete(workspace: Workspace) -> None:
    workspace.delete_client("acme")


def promote_first(workspace: Workspace) -> None:
    version = find_version(workspace.catalogue, "acme@1")
    standard = Standard(thresholds="t", base="b")
    promote(workspace.catalogue, version, standard, by="me", force_reason="test")


@pytest.mark.parametrize("limit", [0, 300, 1500, 5_000, 20_000, 60_000, 200_000])
@pytest.mark.parametrize(
    "act",
    [lambda w: add(w, "acme", 30_000), delete, promote_first],
    ids=["add", "delete", "promote"],
)
def test_no_room_for_files_of_any_size_breaks_nothing(
    tmp_path: Path, act: Callable[[Workspace], None], limit: int
) -> None:
    root = filled(tmp_path / "agency")
    clients, before = state(root)
    with copydesk.open(root) as workspace:
        full = refused_for_room(workspace, act, limit)
    assert full or limit > 1500
    mended = examine(root, repair=True)
    assert mended.healthy, said(mended)
    assert examine(root).found == ()
    after_clients, after = state(root)
    assert {item for item in before if item[1] == "bolt"} <= after, "the neighbour has all it had"
    if "acme" in after_clients:
        assert before <= after and clients == after_clients
    else:
        assert act is delete
        assert not [path for path in root.rglob("*.md") if CANARY in path.read_text()]
    with copydesk.open(root) as workspace:
        if full and "acme" in after_clients:
            act(workspace)  # with room it goes


LIMITS = [0, 300, 1500, 5_000, 20_000, 60_000]


@pytest.mark.parametrize("limit", LIMITS)
def test_no_room_for_a_rollback_leaves_what_speaks(tmp_path: Path, limit: int) -> None:
    root = filled(tmp_path / "agency")
    with copydesk.open(root) as workspace:
        catalogue = workspace.catalogue
        promote_first(workspace)
        add(workspace, "acme")
        second = find_version(catalogue, "acme@2")
        promote(catalogue, second, Standard(thresholds="t", base="b"), by="me", force_reason="x")
        full = refused_for_room(workspace, lambda w: w.rollback("acme", reason="y" * 900), limit)
        assert full or limit > 1500
        assert live_version(catalogue, "acme").number == (2 if full else 1)
        assert len(history(catalogue, "acme")) == (2 if full else 3)
        if full:
            assert workspace.rollback("acme", reason="with room").number == 1
    assert examine(root).found == ()


@pytest.mark.parametrize("limit", LIMITS[::2])
def test_no_room_for_a_withdrawal_withdraws_all_or_nothing(
    tmp_path: Path, sample_folder: Path, limit: int
) -> None:
    root = filled(tmp_path / "agency")
    with copydesk.open(root) as workspace:
        workspace.curate("acme", [sample_folder / "fernwick" / "posts.jsonl"])
        page = workspace.documents("acme")[0][0].sha256
    before = state(root)
    with copydesk.open(root) as workspace:
        full = refused_for_room(workspace, lambda w: w.withdraw("acme", page), limit)
    assert full or limit > 1500
    mended = examine(root, repair=True)
    assert mended.healthy, said(mended)
    assert {item.check for item in examine(root).found} <= {"withdrawals"}
    if full:
        assert state(root) == before
    with copydesk.open(root) as workspace:
        if full:
            assert workspace.withdrawn() == ()
            workspace.withdraw("acme", page)
        assert [mark.name for mark in workspace.withdrawn()] == ["acme/1"]


@pytest.mark.parametrize("limit", LIMITS)
def test_no_room_for_signatures_signs_some_or_none_and_the_rest_with_room(
    tmp_path: Path, limit: int
) -> None:
    root = filled(tmp_path / "agency")
    for file in root.rglob("manifest.sig"):
        file.unlink()
    shutil.rmtree(root / "keys")
    before = state(root)
    with files_of_at_most(limit):
        found = examine(root, sign=True)
    assert found.healthy == (limit > 32_768), "SQLite's shared memory has that size"
    if not found.healthy:
        assert any("could not be written" in line for line in said(found)), said(found)
    assert not list(root.rglob("*.part"))
    signed = examine(root, sign=True)
    assert signed.healthy, said(signed)
    assert examine(root).found == () and state(root) == before


@pytest.fixture(scope="module")
def bundle(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bundle of a version by LoRA, and its signer's fingerprint."""
    folder = tmp_path_factory.mktemp("sender")
    info = BaseStore(folder / "cache").find(str(tiny_base))
    method = find_method("lora")
    base = load_base(info, device=torch.device("cpu"), dtype=torch.float32)
    tuned = method.prepare(base, method.settings(lora_r=4), 0)

    def fill(artifact: Artifact) -> None:
        method.save(tuned, artifact.path)
        artifact.facts.update(method="lora", settings={"lora_r": 4}, dtype="float32", base="tiny")

    with copydesk.init(folder / "agency") as workspace:
        workspace.add_client("cress")
        add_version(workspace.catalogue, "cress", {"base": info.digest}, fill)
        file = workspace.export("cress@1", to="bundle", folder=folder / "cress.bundle")
        signer = workspace.catalogue.keys.fingerprint()
    assert signer is not None
    return file, signer


@pytest.mark.parametrize("limit", LIMITS)
def test_no_room_for_an_import_leaves_nothing_of_it(
    tmp_path: Path, tiny_base: Path, bundle: tuple[Path, str], limit: int
) -> None:
    root = filled(tmp_path / "agency")
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    before = state(root)
    file, signer = bundle

    def act(workspace: Workspace) -> str:
        return workspace.import_version(file, trust=signer).version

    with copydesk.open(root) as workspace:
        full = refused_for_room(workspace, act, limit)
    assert full or limit > 20_000
    if full:
        assert state(root) == before
    mended = examine(root, repair=True)
    assert mended.healthy, said(mended)
    assert examine(root).found == ()
    if full:
        assert state(root) == before
        with copydesk.open(root) as workspace:
            assert act(workspace) == "cress@1"


@pytest.fixture
def own_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 8 MiB with a workspace on it."""
    with disk_of("8m", tmp_path / "disk") as folder:
        filled(folder / "agency")
        yield folder


def test_a_disk_without_a_free_byte(own_disk: Path) -> None:
    root = own_disk / "agency"
    before = state(root)
    with copydesk.open(root) as workspace:
        with pytest.raises(OSError, match="No space"), (own_disk / "ballast").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        for act in (
            lambda: add(workspace, "acme", 30_000),
            lambda: promote_first(workspace),
            lambda: delete(workspace),
        ):
            with pytest.raises(NoRoom, match="full"):
                act()
        (own_disk / "ballast").unlink()
    assert examine(root, repair=True).healthy
    assert state(root) == before
    with copydesk.open(root) as workspace:
        delete(workspace)
    assert examine(root).found == ()


def test_a_read_only_workspace_is_examined_and_refuses_changes(own_disk: Path) -> None:
    root = own_disk / "agency"
    subprocess.run(["mount", "-o", "remount,ro", own_disk], check=True)
    try:
        found = examine(root)
        assert found.healthy, said(found)
        assert found.artifacts == 2
        refused = examine(root, repair=True)
        assert not refused.healthy
        assert said(refused) == ["workspace: The catalogue may not be written"]
        with pytest.raises(NoRoom, match="may not be written"):
            copydesk.open(root)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", own_disk], check=True)
    weights = root / "artifacts" / "versions" / "acme" / "1" / "weights"
    weights.write_bytes(b"other")
    subprocess.run(["mount", "-o", "remount,ro", own_disk], check=True)
    try:
        assert any("weights is not what was written" in line for line in said(examine(root)))
    finally:
        subprocess.run(["mount", "-o", "remount,rw", own_disk], check=True)


# Processes at once


def started(script: str, root: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", script.replace("CANARY", CANARY), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_processes_that_add_and_delete_at_once_leave_nothing_between(tmp_path: Path) -> None:
    root = filled(tmp_path / "agency")
    children = [started(ADD, root), started(ADD, root), started(DELETE, root)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    told = [child.communicate(timeout=120)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert told[2][0] == "deleted"
    assert all(told[n][1] == "gone" for n in (0, 1)), "who came later was told"
    clients, entries = state(root)
    assert clients == {"bolt"}
    assert {item[1] for item in entries} == {"bolt"}
    left = [
        path for path in root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
    ]
    assert left == []
    found = examine(root)
    assert found.healthy, said(found)


def test_who_holds_a_client_is_told_with_all_that_helps(tmp_path: Path) -> None:
    root = filled(tmp_path / "agency")
    with (
        copydesk.open(root) as workspace,
        held(root / "locks", "acme", doing="trains it"),
        pytest.raises(
            InUse,
            match=r"acme is in use by process \d+, which trains it, on \S+ since "
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
        ),
    ):
        workspace.delete_client("acme")
