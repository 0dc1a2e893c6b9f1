"""Keys: what they allow, what is kept of them, and how they end."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import copydesk
from copydesk.desk import ServerKeys, Workspace
from copydesk.errors import InvalidInput, UnknownName


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with copydesk.init(tmp_path / "agency") as opened:
        for name in ("acme", "bolt"):
            opened.add_client(name)
        yield opened


def test_a_key_is_found_by_its_secret_and_allows_what_it_was_made_for(workspace: Workspace) -> None:
    issued = workspace.server_keys.add(clients=["acme"], rate=60, quota=1000, label="the site")
    found = workspace.server_keys.find(issued.secret)
    assert found == issued.key
    assert found.allows("acme") and not found.allows("bolt")
    assert (found.base, found.admin, found.rate, found.quota) == (False, False, 60, 1000)
    wide = workspace.server_keys.find(workspace.server_keys.add(every_client=True).secret)
    assert wide is not None and wide.allows("bolt") and wide.allows("one that comes later")


def test_nothing_of_a_secret_is_on_disk(workspace: Workspace) -> None:
    issued = workspace.server_keys.add(clients=["acme"])
    _, ident, own = issued.secret.split("-")
    files = [path for path in workspace.root.rglob("*") if path.is_file()]
    held = b"".join(path.read_bytes() for path in files)
    assert ident.encode() in held
    assert own.encode() not in held and bytes.fromhex(own) not in held


@pytest.mark.parametrize(
    "wrong",
    ["", "cd-", "Bearer", "cd-000000000000-" + "0" * 64, "x" * 5000, "cd-\ud800", "'; DROP--"],
)
def test_what_is_no_key_finds_none(workspace: Workspace, wrong: str) -> None:
    workspace.server_keys.add(clients=["acme"])
    assert workspace.server_keys.find(wrong) is None


def test_another_keys_secret_does_not_open_this_one(workspace: Workspace) -> None:
    one, other = (workspace.server_keys.add(clients=[name]) for name in ("acme", "bolt"))
    crossed = f"cd-{one.key.id}-{other.secret.rsplit('-', 1)[1]}"
    assert workspace.server_keys.find(crossed) is None


def test_rotating_ends_the_old_secret_and_keeps_the_scope(workspace: Workspace) -> None:
    first = workspace.server_keys.add(clients=["acme"], quota=5)
    second = workspace.server_keys.rotate(first.key.id)
    assert workspace.server_keys.find(first.secret) is None
    assert workspace.server_keys.find(second.secret) == first.key


def test_a_revoked_key_is_refused_by_every_process_at_once(workspace: Workspace) -> None:
    issued = workspace.server_keys.add(clients=["acme"])
    with copydesk.open(workspace.root) as other:
        assert other.server_keys.find(issued.secret) is not None
        revoked = workspace.server_keys.revoke(issued.secret)
        assert revoked.revoked
        assert other.server_keys.find(issued.secret) is None
        assert workspace.server_keys.revoke(issued.key.id).revoked == revoked.revoked
        with pytest.raises(InvalidInput, match="revoked"):
            other.server_keys.rotate(issued.key.id)
    assert workspace.server_keys.ever_made()


def test_what_was_used_adds_up_within_a_month(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = workspace.server_keys.add(clients=["acme"], quota=100)
    for tokens in (30, 12):
        workspace.server_keys.count(issued.key.id, tokens=tokens)
    now = workspace.server_keys.get(issued.key.id)
    assert (now.requests, now.tokens) == (2, 42)
    monkeypatch.setattr("copydesk.desk._keys._month", lambda: "2999-01")
    assert workspace.server_keys.get(issued.key.id).tokens == 0
    workspace.server_keys.count("000000000000", tokens=1)  # one that went meanwhile counts nowhere


def test_a_client_that_is_deleted_and_made_again_is_not_in_old_keys(workspace: Workspace) -> None:
    alone = workspace.server_keys.add(clients=["acme"])
    shared = workspace.server_keys.add(clients=["acme", "bolt"])
    workspace.delete_client("acme")
    workspace.add_client("acme")
    assert workspace.server_keys.find(alone.secret) is None
    found = workspace.server_keys.find(shared.secret)
    assert found is not None and found.allows("bolt") and not found.allows("acme")


def test_a_server_that_needed_keys_needs_them_whatever_is_lost(workspace: Workspace) -> None:
    keys = workspace.server_keys
    assert not keys.ever_made() and not keys.remembered()
    alone = keys.add(clients=["acme"])
    workspace.delete_client("acme")
    assert not keys.listed() and keys.ever_made(), "its only key went with its client"
    assert keys.find(alone.secret) is None and not keys.usable()
    keys.add(clients=["bolt"])
    workspace.close()
    for file in workspace.root.glob("copydesk.db*"):
        file.unlink()
    with copydesk.open(workspace.root) as again:  # any command makes an empty catalogue
        assert again.server_keys.all() == () and again.server_keys.ever_made()
        assert again.server_keys.revoke(_new_key(again)).revoked
        assert not again.server_keys.usable()


def _new_key(workspace: Workspace) -> str:
    issued = workspace.server_keys.add(every_client=True)
    assert workspace.server_keys.usable()
    return issued.key.id


def test_keys_are_listed_as_they_were_made_when_the_clock_goes_backwards(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for year in (2030, 2029, 2031, 2028):
        moment = f"{year}-01-01T00:00:00+00:00"
        monkeypatch.setattr("copydesk.desk._keys._now", lambda moment=moment: moment)
        made.append(workspace.server_keys.add(clients=["acme"]).key.id)
    assert [key.id for key in workspace.server_keys.all()] == made


def test_keys_that_cannot_be_are_refused(workspace: Workspace) -> None:
    keys = workspace.server_keys
    with pytest.raises(InvalidInput, match="allow nothing"):
        keys.add()
    with pytest.raises(InvalidInput, match="Every client"):
        keys.add(clients=["acme"], every_client=True)
    with pytest.raises(UnknownName, match="'nobody'"):
        keys.add(clients=["acme", "nobody"])
    for limits in ({"rate": 0}, {"rate": -1}, {"quota": 0}):
        with pytest.raises(InvalidInput, match="not positive"):
            keys.add(clients=["acme"], **limits)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="label"):
        keys.add(clients=["acme"], label="two\nlines")
    with pytest.raises(UnknownName, match="no key"):
        keys.revoke("abc")
    assert keys.all() == ()


def test_a_workspace_from_before_there_were_keys_gets_them(tmp_path: Path) -> None:
    with copydesk.init(tmp_path / "old") as opened:
        opened.add_client("acme")
    raw = sqlite3.connect(tmp_path / "old" / "copydesk.db")
    tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    for table in set(tables) - {"clients", "artifacts", "sqlite_sequence"}:
        raw.execute(f"DROP TABLE {table}")
    raw.execute("PRAGMA user_version = 1")
    raw.commit()
    raw.close()
    with copydesk.open(tmp_path / "old") as opened:
        issued = ServerKeys(opened.catalogue).add(clients=["acme"])
        assert opened.server_keys.find(issued.secret) is not None
