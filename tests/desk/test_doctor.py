"""The doctor: each thing that can be wrong is named, and what is safe is mended."""

import datetime
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import copydesk
from copydesk import Workspace
from copydesk.app.cli import main
from copydesk.desk import Examination, examine
from copydesk.desk._using import pending_file
from copydesk.errors import Damaged, InvalidInput
from copydesk.registry import Version, add_version, find_version, live_version, versions
from copydesk.store import Artifact, Catalogue, Keyring, building, held, open_artifact

SCHEMA_1 = """
CREATE TABLE clients (name TEXT PRIMARY KEY, created TEXT NOT NULL) STRICT;
CREATE TABLE artifacts (
    kind TEXT NOT NULL,
    client TEXT NOT NULL REFERENCES clients (name) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (kind, client, number)
) STRICT;
PRAGMA user_version = 1;
"""


def add(workspace: Workspace, client: str, text: str = "weights") -> Version:
    def fill(artifact: Artifact) -> None:
        (artifact.path / "adapter_model.safetensors").write_text(text)
        artifact.facts["method"] = "lora"

    inputs = {"base": "b", "dataset": "d", "run": text}
    return add_version(workspace.catalogue, client, inputs, fill)


@pytest.fixture
def agency(tmp_path: Path) -> Path:
    """Two clients, three versions; acme@1 speaks."""
    root = tmp_path / "agency"
    with copydesk.init(root) as workspace:
        for name in ("acme", "bolt"):
            workspace.add_client(name)
        for client, text in (("acme", "one"), ("acme", "two"), ("bolt", "three")):
            add(workspace, client, text)
        with workspace.catalogue.writing() as db:
            db.execute("INSERT INTO live VALUES ('acme', 1)")
    return root


def version_folder(root: Path, client: str, number: int) -> Path:
    return root / "artifacts" / "versions" / client / str(number)


def said(found: Examination) -> list[str]:
    return [f"{item.check}: {item.what}" for item in found.found]


def snapshot(root: Path) -> dict[str, bytes]:
    """All files but SQLite's shared memory and log, which reading may make."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_sound_workspace_is_left_alone(agency: Path) -> None:
    before = snapshot(agency)
    found = examine(agency)
    assert found.found == ()
    assert found.healthy
    assert found.artifacts == 3
    own = Keyring(agency).own()
    assert own is not None
    assert found.fingerprint is not None
    assert examine(agency, repair=True, sign=True) == found
    assert snapshot(agency) == before


def remove_catalogue(root: Path) -> None:
    for file in root.glob("copydesk.db*"):
        file.unlink()


@pytest.mark.parametrize("opened_since", [False, True])
def test_a_lost_catalogue_is_rebuilt_from_the_manifests(agency: Path, opened_since: bool) -> None:
    with copydesk.open(agency) as workspace:
        before = workspace.catalogue.listed()
        names = [row.name for row in workspace.catalogue.clients()]
        workspace.add_client("empty", style_guide=None)
        (agency / "clients" / "empty").mkdir(parents=True)
    remove_catalogue(agency)
    if opened_since:  # any command makes an empty one
        copydesk.open(agency).close()
    found = examine(agency)
    assert not found.healthy
    assert any("missing" in line or "does not list" in line for line in said(found))
    found = examine(agency, repair=True)
    assert found.healthy, said(found)
    assert examine(agency).found == ()
    with copydesk.open(agency) as workspace:
        assert workspace.catalogue.listed() == before, "also when they were made"
        assert [row.name for row in workspace.catalogue.clients()] == [*names, "empty"]
        assert find_version(workspace.catalogue, "acme@2").facts["method"] == "lora"
        assert add(workspace, "acme", "four").number == 3


def overwrite(file: Path, at: int, count: int) -> None:
    with file.open("r+b") as out:
        out.seek(at)
        out.write(b"\xa5" * count)


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.write_bytes(b"not a database at all, and long enough to be none" * 9),
        lambda file: overwrite(file, 0, 4096),
        lambda file: overwrite(file, 4096, 4096),
        lambda file: os.truncate(file, 5000),
        lambda file: file.write_bytes(b"SQLite format 3\x00" + b"\x00" * 5000),
    ],
    ids=["garbage", "head", "page", "cut", "zeros"],
)
def test_a_damaged_catalogue_is_put_aside_and_rebuilt(
    agency: Path, harm: Callable[[Path], object]
) -> None:
    with copydesk.open(agency) as workspace:
        before = workspace.catalogue.listed()
    harm(agency / "copydesk.db")
    found = examine(agency)
    assert [item.check for item in found.found] == ["catalogue"]
    assert "damaged" in said(found)[0]
    mended = examine(agency, repair=True)
    assert mended.healthy, said(mended)
    with copydesk.open(agency) as workspace:
        assert workspace.catalogue.listed() == before
    assert list(agency.glob("copydesk.db.damaged-1"))
    with copydesk.open(agency) as workspace:
        workspace.delete_client("acme")
    assert not list(agency.glob("copydesk.db.damaged-*")), "it named the client"


def test_what_is_in_no_manifest_is_saved_from_a_damaged_catalogue(agency: Path) -> None:
    raw = sqlite3.connect(agency / "copydesk.db")
    (page,) = raw.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'evaluations_of_versions'"
    ).fetchone()
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    overwrite(agency / "copydesk.db", (page - 1) * 4096, 4096)
    assert not examine(agency).healthy
    assert examine(agency, repair=True).healthy
    with copydesk.open(agency) as workspace:
        assert workspace.catalogue.rows("SELECT * FROM live") == [("acme", 1)]
        assert find_version(workspace.catalogue, "acme").number == 1


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "what", "where"),
    [
        (lambda f: flip(f / "adapter_model.safetensors"), "expected .*found", "safetensors"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "found nothing", "safetensors"),
        (lambda f: flip(f / "manifest.json"), "not a manifest", "manifest.json"),
        (lambda f: (f / "manifest.json").unlink(), "cannot be read", "manifest.json"),
        (lambda f: flip(f / "manifest.sig"), "cannot be read|not what was", "manifest.sig"),
        (lambda f: (f / "manifest.sig").unlink(), "not signed", "manifest.sig"),
        (
            lambda f: (f / "manifest.json").write_bytes(
                (f / "manifest.json").read_bytes().replace(b'"lora"', b'"full"')
            ),
            "expected .*found",
            "manifest.json",
        ),
    ],
)
def test_a_changed_artifact_is_named_and_not_repaired(
    agency: Path, harm: Callable[[Path], object], what: str, where: str
) -> None:
    folder = version_folder(agency, "acme", 2)
    harm(folder)
    before = snapshot(agency)
    for found in (examine(agency), examine(agency, repair=True)):
        assert not found.healthy
        (trouble,) = [item for item in found.found if item.severity == "error"]
        assert not trouble.repaired
        assert trouble.where.endswith(where)
        assert re.search(what, trouble.what)
    assert snapshot(agency) == before


def test_a_file_that_nobody_wrote_down_is_noted(agency: Path) -> None:
    (version_folder(agency, "acme", 1) / "adapter_model.bin").write_bytes(b"\x80\x04.")
    found = examine(agency)
    assert said(found) == ["artifacts: adapter_model.bin is not in the manifest"]


def test_a_folder_without_a_row_is_listed_when_it_is_whole(agency: Path) -> None:
    with copydesk.open(agency) as workspace:
        entry = workspace.catalogue.entries("versions", "acme")[1]
        workspace.catalogue.forget(entry)
        assert len(versions(workspace.catalogue, "acme")) == 1
    assert not examine(agency).healthy
    assert examine(agency, repair=True).healthy
    with copydesk.open(agency) as workspace:
        assert workspace.catalogue.entries("versions", "acme")[1] == entry


def test_a_half_folder_is_never_listed(agency: Path) -> None:
    half = version_folder(agency, "acme", 9)
    shutil.copytree(version_folder(agency, "acme", 1), half)  # whole, but signed for another place
    other = version_folder(agency, "bolt", 7)
    other.mkdir()
    (other / "adapter_model.safetensors").write_text("half")
    found = examine(agency, repair=True)
    assert not found.healthy
    with copydesk.open(agency) as workspace:
        numbers = {(entry.client, entry.number) for entry in workspace.catalogue.listed()}
    assert numbers == {("acme", 1), ("acme", 2), ("bolt", 1)}
    assert half.is_dir() and other.is_dir(), "it is for a person to look at"


def test_a_row_without_a_folder_goes_unless_it_speaks(agency: Path) -> None:
    for number in (1, 2):
        shutil.rmtree(version_folder(agency, "acme", number))
    found = examine(agency, repair=True)
    assert [item.repaired for item in found.found] == [False, True]
    assert "speaks for acme" in found.found[0].todo
    with copydesk.open(agency) as workspace:
        assert [entry.number for entry in workspace.catalogue.entries("versions", "acme")] == [1]


def test_a_promotion_of_something_that_is_not_there_is_named(agency: Path) -> None:
    with copydesk.open(agency) as workspace, workspace.catalogue.writing() as db:
        db.execute("INSERT INTO live VALUES ('bolt', 5)")
    found = examine(agency, repair=True)
    assert said(found) == ["promotions: bolt@5 speaks and is not in the catalogue"]
    assert not found.healthy


def unsigned(root: Path) -> None:
    """As a workspace was before manifests were signed."""
    for file in root.rglob("manifest.sig"):
        file.unlink()
    shutil.rmtree(root / "keys")


def test_a_workspace_from_before_signatures_is_signed_on_request(agency: Path) -> None:
    unsigned(agency)
    with copydesk.open(agency) as workspace:
        before = workspace.catalogue.listed()
        with pytest.raises(Damaged, match=r"copydesk doctor --sign"):
            find_version(workspace.catalogue, "acme@1")
    flip(version_folder(agency, "acme", 2) / "adapter_model.safetensors")
    assert not examine(agency, repair=True).healthy, "repairing does not sign"
    found = examine(agency, sign=True)
    assert sum(item.repaired for item in found.found) == 2
    assert not found.healthy, "what was changed is not signed"
    assert not (version_folder(agency, "acme", 2) / "manifest.sig").exists()
    with copydesk.open(agency) as workspace:
        find_version(workspace.catalogue, "acme@1")
        assert workspace.catalogue.listed() == before


def test_an_old_workspace_without_a_catalogue_is_rebuilt_and_signed(agency: Path) -> None:
    with copydesk.open(agency) as workspace:
        before = {(e.kind, e.client, e.number, e.digest) for e in workspace.catalogue.listed()}
    unsigned(agency)
    remove_catalogue(agency)
    assert not examine(agency, repair=True).healthy
    found = examine(agency, repair=True, sign=True)
    assert found.healthy, said(found)
    with copydesk.open(agency) as workspace:
        after = {(e.kind, e.client, e.number, e.digest) for e in workspace.catalogue.listed()}
    assert after == before


def test_a_catalogue_of_the_first_schema_is_read_brought_up_and_kept(agency: Path) -> None:
    with copydesk.open(agency) as workspace:
        entries = workspace.catalogue.listed()
    remove_catalogue(agency)
    raw = sqlite3.connect(agency / "copydesk.db")
    raw.executescript(SCHEMA_1)
    raw.executemany("INSERT INTO clients VALUES (?, '2026')", [("acme",), ("bolt",)])
    rows = [
        (e.kind, e.client, e.number, e.path.relative_to(agency).as_posix(), e.digest, e.created)
        for e in entries
    ]
    raw.executemany("INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?)", rows)
    raw.commit()
    raw.close()
    found = examine(agency)
    assert said(found) == ["catalogue: The catalogue is of an older schema"]
    assert found.healthy
    assert examine(agency, repair=True).found == ()
    with copydesk.open(agency) as workspace:
        assert workspace.catalogue.listed() == entries


def test_a_newer_schema_is_not_touched(agency: Path) -> None:
    raw = sqlite3.connect(agency / "copydesk.db")
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    for repair in (False, True):
        with pytest.raises(Damaged, match="schema 99"):
            examine(agency, repair=repair)


def test_keys_that_others_can_read_or_that_lost_a_half(agency: Path) -> None:
    private, public = agency / "keys" / "signing.key", agency / "keys" / "signing.pub"
    private.chmod(0o644)
    found = examine(agency)
    assert said(found) == ["keys: Others may read the private key: expected mode 600, found 644"]
    assert examine(agency, repair=True).healthy
    assert private.stat().st_mode & 0o777 == 0o600
    content = public.read_bytes()
    public.unlink()
    assert not examine(agency).healthy
    assert examine(agency, repair=True).healthy
    assert public.read_bytes() == content
    private.unlink()
    found = examine(agency)
    assert found.healthy
    assert said(found) == ["keys: The private key is gone; what it signed can still be checked"]


def test_a_deletion_that_was_cut_off_is_finished(agency: Path) -> None:
    with copydesk.open(agency) as workspace:
        file = pending_file(workspace._place, "acme")
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    assert not examine(agency).healthy
    assert examine(agency, repair=True).healthy
    with copydesk.open(agency) as workspace:
        assert [row.name for row in workspace.catalogue.clients()] == ["bolt"]
    assert len(list((agency / "receipts").glob("*.json"))) == 1
    assert examine(agency).found == ()


def test_what_comes_back_of_an_erased_client_is_removed(agency: Path, tmp_path: Path) -> None:
    shutil.copytree(agency / "artifacts" / "versions" / "acme", tmp_path / "backup")
    with copydesk.open(agency) as workspace:
        workspace.delete_client("acme")
    shutil.copytree(tmp_path / "backup", agency / "artifacts" / "versions" / "acme")
    (agency / "clients" / "acme" / "drafts").mkdir(parents=True)
    assert not examine(agency).healthy
    found = examine(agency, repair=True)
    assert found.healthy, said(found)
    assert not list((agency / "artifacts" / "versions").glob("acme/*"))
    assert not (agency / "clients" / "acme").exists()
    with copydesk.open(agency) as workspace:
        assert [row.name for row in workspace.catalogue.clients()] == ["bolt"]


def test_a_receipt_that_was_changed_is_named(agency: Path) -> None:
    with copydesk.open(agency) as workspace:
        receipt = workspace.delete_client("acme")
    raw = json.loads(receipt.path.read_bytes())
    receipt.path.write_text(json.dumps({**raw, "artifacts": []}))
    (agency / "receipts" / "other.json").write_text("[]")
    found = examine(agency, repair=True)
    assert [item.check for item in found.found] == ["receipts", "receipts"]
    assert not found.healthy


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(agency: Path) -> None:
    shelves = (agency / "artifacts" / ".new", agency / "bases", agency / "cache" / "acme" / "voice")
    for shelf in shelves:
        for owner in (999_999_999, os.getpid()):
            (shelf / f".building-{owner}-ab").mkdir(parents=True)
    found = examine(agency)
    assert found.healthy and len(found.found) == 3
    assert all(item.repaired for item in examine(agency, repair=True).found)
    for shelf in shelves:
        assert [path.name for path in shelf.iterdir()] == [f".building-{os.getpid()}-ab"]


def test_files_that_the_dead_were_writing_go(agency: Path) -> None:
    names = (
        ".report.html.{}.part",
        "clients/acme/.0001-x.md.{}.part",
        "keys/.signing.key.{}-ab.part",
    )
    for name in names:
        for owner in (999_999_999, os.getpid()):
            file = agency / name.format(owner)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("half")
    found = examine(agency, repair=True)
    assert [item.check for item in found.found] == ["leftovers"] * 3 and found.healthy
    for name in names:
        assert not (agency / name.format(999_999_999)).exists()
        assert (agency / name.format(os.getpid())).exists()


def test_broken_caches_go(agency: Path) -> None:
    good, bad = (agency / "cache" / "acme" / name for name in ("good", "bad"))
    for folder in (good, bad):
        with building(folder, kind="encoded", inputs={}) as artifact:
            (artifact.path / "encoded").write_text("x")
    flip(bad / "encoded")
    assert [item.check for item in examine(agency, repair=True).found] == ["caches"]
    assert good.is_dir() and not bad.exists()


def test_locks_of_the_living_are_told_and_notes_of_the_dead_removed(agency: Path) -> None:
    locks = agency / "locks"
    with held(locks, "acme", doing="trains it"):
        (locks / "bolt.holder").write_text("process 999999999, which trains it")
        found = examine(agency)
        assert found.healthy
        assert [item.what.split(" by ")[0] for item in found.found] == [
            "acme is in use",
            "bolt was in use",
        ]
        examine(agency, repair=True)
        assert (locks / "acme.holder").exists()
        assert not (locks / "bolt.holder").exists()


def test_a_moved_base_and_unknown_settings_are_named(agency: Path) -> None:
    (agency / "copydesk.toml").write_text(
        'base = "/nowhere/at/all"\n[client_settings.ghost.lora]\nlora_r = 4\n'
    )
    found = examine(agency)
    assert said(found) == [
        "settings: The base /nowhere/at/all is not there",
        "settings: There is no client ghost",
    ]
    (agency / "copydesk.toml").write_text("nonsense = 1\n")
    assert any("nonsense" in line for line in said(examine(agency)))


def test_a_moved_or_copied_workspace_is_sound(agency: Path, tmp_path: Path) -> None:
    shutil.copytree(agency, tmp_path / "copy")
    agency.rename(tmp_path / "moved")
    for name in ("copy", "moved"):
        assert examine(tmp_path / name).found == ()


def test_a_clock_that_was_set_back_changes_no_order(
    agency: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Earlier(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "datetime.datetime":
            return datetime.datetime(2001, 1, 1, tzinfo=tz)

    with copydesk.open(agency) as workspace:
        monkeypatch.setattr("copydesk.store._signatures.datetime.datetime", Earlier)
        made = add(workspace, "acme", "from the past")
        monkeypatch.undo()
        assert made.number == 3
        assert [version.number for version in versions(workspace.catalogue, "acme")] == [1, 2, 3]
        assert workspace.catalogue.entries("versions", "acme")[2].created.startswith("2001")
        open_artifact(made.path, keys=workspace.catalogue.keys)
    assert examine(agency).found == ()
    with copydesk.open(agency) as workspace:
        (row,) = workspace.catalogue.entries("versions", "bolt")
        with workspace.catalogue.writing() as db:
            db.execute("UPDATE artifacts SET created = '2999-01-01' WHERE client = 'bolt'")
    assert row.number == 1
    found = examine(agency)
    assert found.healthy
    assert [item.check for item in found.found] == ["clocks"]


def test_nothing_is_signed_unread(agency: Path) -> None:
    unsigned(agency)
    before = snapshot(agency)
    with pytest.raises(InvalidInput, match="whose files were not read"):
        examine(agency, sign=True, files=False)
    assert snapshot(agency) == before


@pytest.mark.parametrize("doctored", [False, True])
def test_a_server_that_needed_keys_does_not_stand_open_when_the_catalogue_is_lost(
    agency: Path, doctored: bool
) -> None:
    with copydesk.open(agency) as workspace:
        workspace.server_keys.add(clients=["acme"])
    remove_catalogue(agency)
    if doctored:
        found = examine(agency, repair=True)
        assert found.healthy
        assert "server keys: The server needs keys and has none" in " ".join(said(found))
    with copydesk.open(agency) as workspace:
        assert workspace.server_keys.ever_made()
        workspace.server_keys.add(clients=["acme"]) if doctored else None
    told = any("server keys" in line for line in said(examine(agency)))
    assert told == (not doctored)


def test_a_workspace_whose_need_of_keys_only_the_catalogue_knows_is_mended(agency: Path) -> None:
    with copydesk.open(agency) as workspace:
        workspace.server_keys.add(clients=["acme"])
    (agency / "keys" / "server-needs-keys").unlink()
    found = examine(agency)
    assert not found.healthy and "server keys" in said(found)[0]
    assert examine(agency, repair=True).healthy
    assert examine(agency).found == ()
    remove_catalogue(agency)
    with copydesk.open(agency) as workspace:
        assert workspace.server_keys.ever_made()


def test_a_catalogue_of_the_previous_schema_keeps_its_promotions(agency: Path) -> None:
    with copydesk.open(agency) as workspace:
        entries = workspace.catalogue.listed()
    raw = sqlite3.connect(agency / "copydesk.db")
    for table in ("key_use", "key_clients", "keys"):
        raw.execute(f"DROP TABLE {table}")
    raw.execute("PRAGMA user_version = 2")
    raw.commit()
    raw.close()
    before = snapshot(agency)
    found = examine(agency)
    assert said(found) == ["catalogue: The catalogue is of an older schema"] and found.healthy
    assert snapshot(agency) == before
    with copydesk.open(agency) as workspace:
        assert workspace.catalogue.listed() == entries
        assert live_version(workspace.catalogue, "acme").number == 1
        workspace.server_keys.add(clients=["acme"])
    assert examine(agency).found == ()


def test_quick_leaves_the_files_alone(agency: Path) -> None:
    flip(version_folder(agency, "acme", 2) / "adapter_model.safetensors")
    assert examine(agency, files=False).healthy
    assert not examine(agency).healthy


def test_rows_that_name_no_client_go(agency: Path) -> None:
    raw = sqlite3.connect(agency / "copydesk.db")
    raw.execute("PRAGMA foreign_keys = OFF")
    raw.execute("DELETE FROM clients WHERE name = 'bolt'")
    raw.commit()
    raw.close()
    assert not examine(agency).healthy
    found = examine(agency, repair=True)
    assert found.healthy, said(found)
    assert examine(agency).found == ()
    catalogue = Catalogue(agency)
    assert [entry.number for entry in catalogue.entries("versions", "bolt")] == [1]
    catalogue.close()


def test_the_command_tells_by_its_exit_code(
    agency: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--workspace", str(agency), *arguments])
        return int(ended.value.code or 0), capsys.readouterr().out

    code, out = run()
    assert code == 0 and "Sound: 3 artifacts" in out and "signs as" in out
    remove_catalogue(agency)
    code, out = run("--json")
    assert code == 1
    told = json.loads(out)
    assert told["healthy"] is False
    assert told["found"][0]["check"] == "catalogue"
    code, out = run("--repair")
    assert code == 0 and "repaired: The catalogue is missing" in out
    assert run()[0] == 0
