"""Signed manifests: what was changed is named, and a stranger's signature does not count."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from copydesk.errors import Damaged, InvalidInput
from copydesk.store import (
    Artifact,
    Catalogue,
    Entry,
    Keyring,
    building,
    fingerprint,
    json_bytes,
    open_artifact,
    read_fingerprint,
)

MAKE_KEY = """
import sys
from pathlib import Path
from copydesk.store import Keyring
sys.stdin.readline()
print(Keyring(Path(sys.argv[1])).make().hex())
"""


def listed(root: Path, text: str = "words", client: str = "acme") -> Entry:
    """An artifact in a catalogue."""
    catalogue = Catalogue(root)
    if client not in {row.name for row in catalogue.clients()}:
        catalogue.add_client(client)

    def fill(artifact: Artifact) -> None:
        (artifact.path / "text").write_text(text)
        artifact.facts["score"] = 1

    entry = catalogue.make(kind="notes", client=client, inputs={"from": "abc"}, fill=fill)
    catalogue.close()
    return entry


def open_signed(root: Path, entry: Entry) -> Artifact:
    return open_artifact(entry.path, keys=Keyring(root))


def test_a_listed_artifact_is_signed_by_the_workspace(tmp_path: Path) -> None:
    entry = listed(tmp_path)
    assert open_signed(tmp_path, entry).digest == entry.digest
    signed = json.loads((entry.path / "manifest.sig").read_bytes())
    assert signed["place"] == "artifacts/notes/acme/1"
    assert signed["created"] == entry.created
    # Checked by the library alone, as anybody could who has the public key.
    public = load_pem_public_key((tmp_path / "keys" / "signing.pub").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    signature = bytes.fromhex(signed.pop("signature"))
    public.verify(signature, json_bytes(signed))
    assert signed["key"] == public.public_bytes_raw().hex()


def test_the_private_key_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    first = listed(tmp_path)
    keys = Keyring(tmp_path)
    made = keys.own()
    assert keys.private_mode() == 0o600
    second = listed(tmp_path)
    assert keys.make() == made == Keyring(tmp_path).own()
    for entry in (first, second):
        open_signed(tmp_path, entry)
    assert not [path for path in (tmp_path / "keys").iterdir() if path.name.endswith(".part")]


def change_facts(path: Path) -> None:
    """What a digest over the content does not cover."""
    file = path / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"score":1', b'"score":9'))


def change_file_and_manifest(path: Path) -> None:
    """A forger who hashes well, without the key."""
    made = path.parent.parent.parent.parent / "forged"
    with building(made, kind="notes", inputs={"from": "abc"}) as artifact:
        (artifact.path / "text").write_text("other words")
        artifact.facts["score"] = 1
    for name in ("text", "manifest.json"):
        shutil.copy(made / name, path / name)


def edit_signature(change: Callable[[dict[str, str]], None]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        signed = json.loads((path / "manifest.sig").read_bytes())
        change(signed)
        (path / "manifest.sig").write_bytes(json_bytes(signed))

    return harm


def sign_by_a_stranger(path: Path) -> None:
    stranger = path.parent.parent.parent.parent / "stranger"
    record = json.loads((path / "manifest.sig").read_bytes())
    rest = {name: record[name] for name in ("place", "created", "manifest")}
    signed = Keyring(stranger).sign("copydesk manifest/1", rest)
    (path / "manifest.sig").write_bytes(json_bytes(signed))


def sign_as_something_else(path: Path) -> None:
    record = json.loads((path / "manifest.sig").read_bytes())
    rest = {name: record[name] for name in ("place", "created", "manifest")}
    signed = Keyring(path.parent.parent.parent.parent).sign("copydesk receipt/1", rest)
    (path / "manifest.sig").write_bytes(json_bytes(signed))


@pytest.mark.parametrize(
    ("harm", "named", "said"),
    [
        (change_facts, "manifest.json", "expected .*, found"),
        (change_file_and_manifest, "manifest.json", "expected .*, found"),
        (lambda path: (path / "text").write_text("x"), "text", "expected .*, found"),
        (lambda path: (path / "manifest.sig").unlink(), "manifest.sig", "not signed"),
        (lambda path: (path / "manifest.sig").write_bytes(b"{"), "manifest.sig", "read"),
        (lambda path: (path / "manifest.sig").write_bytes(b"[]"), "manifest.sig", "record"),
        (lambda path: (path / "manifest.sig").write_bytes(b"{}"), "manifest.sig", "not what was"),
        (edit_signature(lambda s: s.update(place="artifacts/notes/acme/2")), "manifest.sig", "fit"),
        (edit_signature(lambda s: s.update(created="1970-01-01")), "manifest.sig", "fit"),
        (edit_signature(lambda s: s.update(extra="x")), "manifest.sig", "fit"),
        (edit_signature(lambda s: s.update(key="00" * 32)), "manifest.sig", "fit"),
        (edit_signature(lambda s: s.update(key="zz")), "manifest.sig", "fit"),
        (edit_signature(lambda s: s.update(signature="00" * 64)), "manifest.sig", "fit"),
        (sign_by_a_stranger, "manifest.sig", "key that is not trusted here: expected .*, found"),
        (sign_as_something_else, "manifest.sig", "something else: expected .*, found"),
    ],
)
def test_tampering_is_named(
    tmp_path: Path, harm: Callable[[Path], object], named: str, said: str
) -> None:
    entry = listed(tmp_path)
    harm(entry.path)
    with pytest.raises(Damaged, match=said) as caught:
        open_signed(tmp_path, entry)
    assert Path(caught.value.where or "").name == named


def test_a_whole_folder_cannot_pass_for_another(tmp_path: Path) -> None:
    first, second = listed(tmp_path, "first"), listed(tmp_path, "second")
    for one, two in ((first, "aside"), (second, "1")):
        one.path.rename(one.path.parent / two)
    with pytest.raises(Damaged, match=r"another place: expected artifacts/notes/acme/2"):
        open_signed(tmp_path, first)


def test_a_workspace_that_was_moved_or_copied_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    entry = listed(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("copy", "there", "link"):
        catalogue = Catalogue(tmp_path / name)
        (found,) = catalogue.entries("notes", "acme")
        assert open_artifact(found.path, keys=catalogue.keys).digest == entry.digest
        catalogue.close()


def test_a_trusted_strangers_signature_counts(tmp_path: Path) -> None:
    entry = listed(tmp_path)
    sign_by_a_stranger(entry.path)
    stranger = Keyring(tmp_path / "stranger").own()
    assert stranger is not None
    Keyring(tmp_path).trust(stranger)
    open_signed(tmp_path, entry)
    assert (tmp_path / "keys" / "trusted" / f"{fingerprint(stranger)}.pub").is_file()


def test_a_lost_private_key_is_replaced_and_what_it_signed_still_counts(tmp_path: Path) -> None:
    first = listed(tmp_path)
    keys = Keyring(tmp_path)
    old = keys.own()
    (tmp_path / "keys" / "signing.key").unlink()
    second = listed(tmp_path)
    assert keys.own() != old
    for entry in (first, second):
        open_signed(tmp_path, entry)


def test_a_lost_public_key_is_written_again_by_the_private_one(tmp_path: Path) -> None:
    entry = listed(tmp_path)
    (tmp_path / "keys" / "signing.pub").unlink()
    with pytest.raises(Damaged, match="is missing"):
        open_signed(tmp_path, entry)
    Keyring(tmp_path).make()
    open_signed(tmp_path, entry)


@pytest.mark.parametrize("content", [b"", b"not a key", b"\x00" * 64])
def test_a_broken_private_key_is_named_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    listed(tmp_path)
    file = tmp_path / "keys" / "signing.key"
    file.write_bytes(content)
    with pytest.raises(Damaged, match="signing key"):
        listed(tmp_path)
    assert file.read_bytes() == content
    assert not (tmp_path / "artifacts" / "notes" / "acme" / "2").exists()


def test_processes_that_need_the_first_key_at_once_agree_on_one(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE_KEY, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    made = {child.communicate(timeout=60)[0].strip() for child in children}
    own = Keyring(tmp_path).own()
    assert own is not None
    assert made == {own.hex()}
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == [
        "signing.key",
        "signing.pub",
    ]


def test_fingerprints_are_read_as_people_write_them() -> None:
    key = bytes(range(32))
    shown = fingerprint(key)
    # sha256 of the bytes 00 to 1f, which sha256sum gives too
    assert shown == "630dcd2966c4336691125448bbb25b4f"
    grouped = ":".join(shown[at : at + 4] for at in range(0, 32, 4)).upper()
    assert read_fingerprint(grouped) == read_fingerprint(shown) == shown
    for wrong in ("", "63", shown + "0", shown[:-1] + "g", "٣" * 32):
        with pytest.raises(InvalidInput, match="fingerprint"):
            read_fingerprint(wrong)
