"""Signatures by ed25519 (RFC 8032): a key for each workspace, and the keys of others it trusts.

What is signed is a record: the canonical JSON of its fields, of what it is a statement about
(`what`) and of the public key. A manifest's record names the place that the artifact was made for,
so that a folder which is whole cannot pass for another. Keys lie in `keys/`, beside what they sign:
they show that a file was changed by someone without the private key, not by someone who has it.
"""

import contextlib
import datetime
import hashlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from copydesk.errors import Damaged, InvalidInput
from copydesk.store._files import (
    flush_to_disk,
    json_bytes,
    read_json,
    replace_bytes,
    storage_errors,
)

SIGNATURE: Final = "manifest.sig"
KEYS: Final = "keys"
_PRIVATE: Final = "signing.key"
_PUBLIC: Final = "signing.pub"
_TRUSTED: Final = "trusted"
_KEY_BYTES: Final = 32
_MOST_SEEN: Final = 100_000
_MANIFEST_OF: Final = "copydesk manifest/1"
_AGAIN: Final = (
    "Restore it from a backup, or make it again; `copydesk doctor` lists all that is wrong."
)


def fingerprint(public: bytes) -> str:
    """How people name a public key: the first 128 bits of its SHA-256, in hexadecimal."""
    return hashlib.sha256(public).hexdigest()[:32]


class Keyring:
    """A workspace's own key, made at first need, and the public keys of those it trusts."""

    def __init__(self, root: Path) -> None:
        """Take a workspace's folder; nothing is read yet."""
        self.root = root
        self.folder = root / KEYS
        self._seen: dict[Path, tuple[object, str]] = {}

    def own(self) -> bytes | None:
        """The workspace's public key, 32 bytes; None before there is one."""
        return _read_public(self.folder / _PUBLIC)

    def fingerprint(self) -> str | None:
        """Of the workspace's public key; None before there is one."""
        own = self.own()
        return fingerprint(own) if own is not None else None

    def private_mode(self) -> int | None:
        """Permission bits of the private key's file; None where there is none."""
        file = self.folder / _PRIVATE
        return file.stat().st_mode & 0o777 if file.is_file() else None

    def protect(self) -> None:
        """Let only the owner read the private key."""
        with storage_errors(self.folder):
            (self.folder / _PRIVATE).chmod(0o600)

    def trusted(self) -> frozenset[bytes]:
        """The public keys whose signatures count here, the own one among them."""
        files = [self.folder / _PUBLIC, *(self.folder / _TRUSTED).glob("*.pub")]
        return frozenset(key for file in files if (key := _read_public(file)) is not None)

    def trust(self, public: bytes) -> None:
        """Let signatures by this key count from now on.

        Raises:
            NoRoom: the disk is full or may not be written.
        """
        name = f"{fingerprint(public)}.pub"
        replace_bytes(self.folder / _TRUSTED / name, _public_pem(public))

    def make(self) -> bytes:
        """The public key; the pair is made where the private one is missing.

        A public key that lost its private one stays trusted, so that what it signed still counts.

        Raises:
            NoRoom: the disk is full or may not be written.
        """
        file = self.folder / _PRIVATE
        if not file.is_file():
            if (old := self.own()) is not None:
                self.trust(old)
            self._make_private(file)
        public = self._private().public_key().public_bytes_raw()
        if self.own() != public:
            replace_bytes(self.folder / _PUBLIC, _public_pem(public))
        return public

    def sign(self, what: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record with `what`, `key` and `signature` (both hexadecimal).

        Raises:
            Damaged: the private key's file holds none.
            NoRoom: there is no key yet, and none can be written.
        """
        statement = {**record, "what": what, "key": self.make().hex()}
        signature = self._private().sign(json_bytes(statement)).hex()
        return {**statement, "signature": signature}

    def verify(self, what: str, signed: Mapping[str, Any], file: Path) -> bytes:
        """The public key by which a record was signed, one that is trusted here.

        Raises:
            Damaged: it was signed by nobody who is trusted, or is not what was signed; `file` is
                named as its place.
        """
        public = check_record(what, signed, file)
        if public not in self.trusted():
            own = self.own()
            raise Damaged(
                f"{file.name} is signed by a key that is not trusted here: expected "
                f"{fingerprint(own) if own else 'the key of this workspace, which is missing'}, "
                f"found {fingerprint(public)}",
                where=str(file),
                todo="Restore it, or keys/, from a backup.",
            )
        return public

    def seal(self, folder: Path, *, place: Path, created: str | None = None) -> str:
        """Sign the manifest in `folder` for the artifact's `place` in the workspace.

        The signature's bytes are flushed to disk, its name in the folder is not.

        Args:
            folder: where the artifact is now.
            place: where it will be.
            created: the time to sign with, where it is known from before; else now.

        Returns:
            The time that it is signed with, which the catalogue's row has too.
        """
        now = created or datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        record = {
            "place": self._relative(place),
            "created": now,
            "manifest": hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest(),
        }
        file = folder / SIGNATURE
        with storage_errors(file):
            aside = folder / f".{SIGNATURE}.part"
            aside.write_bytes(json_bytes(self.sign(_MANIFEST_OF, record)))
            flush_to_disk(aside)
            aside.replace(file)
        return now

    def check_seal(self, folder: Path, manifest: bytes) -> str:
        """Check the signature of an artifact's manifest, given its bytes; the files are not read.

        What was checked before is not checked again while neither file nor the keys change.

        Returns:
            The time that it was signed with.

        Raises:
            Damaged: it has no signature, or one of another manifest, place or key.
        """
        file = folder / SIGNATURE
        state = (hashlib.sha256(manifest).digest(), *map(_state, self._files(file)))
        seen = self._seen.get(folder)
        if seen is not None and seen[0] == state:
            return seen[1]
        created = self._check_seal(folder, manifest, file)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[folder] = (state, created)
        return created

    def _files(self, signature: Path) -> tuple[Path, ...]:
        """What decides whether a signature counts."""
        return signature, self.folder / _PUBLIC, self.folder / _TRUSTED

    def _check_seal(self, folder: Path, manifest: bytes, file: Path) -> str:
        if not file.is_file():
            raise Damaged(
                f"{folder.name} is not signed",
                where=str(file),
                todo="If it is from before manifests were signed: copydesk doctor --sign",
            )
        signed = read_signed(file)
        self.verify(_MANIFEST_OF, signed, file)
        found, place = hashlib.sha256(manifest).hexdigest(), self._relative(folder)
        if signed.get("manifest") != found:
            raise changed_file(folder / "manifest.json", str(signed.get("manifest")), found)
        if signed.get("place") != place:
            raise Damaged(
                f"The artifact was made for another place: expected {signed.get('place')}, "
                f"found {place}",
                where=str(folder),
                todo="Move it back, or restore the folder from a backup.",
            )
        return str(signed.get("created"))

    def _relative(self, place: Path) -> str:
        return place.resolve().relative_to(self.root.resolve()).as_posix()

    def _make_private(self, file: Path) -> None:

        pem = Ed25519PrivateKey.generate().private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        )
        aside = file.with_name(f".{_PRIVATE}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
        with storage_errors(file):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with open(aside, "xb", opener=_for_owner) as out:
                    out.write(pem)
                    out.flush()
                    os.fsync(out.fileno())
                # Unlike a rename, a link does not replace what a second process made meanwhile.
                with contextlib.suppress(FileExistsError):
                    file.hardlink_to(aside)
            finally:
                aside.unlink(missing_ok=True)
            flush_to_disk(self.folder)

    def _private(self) -> Ed25519PrivateKey:

        file = self.folder / _PRIVATE
        try:
            key = form.load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise _no_key(file) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise _no_key(file)
        return key


def check_record(what: str, signed: Mapping[str, Any], file: Path) -> bytes:
    """The public key whose signature a record bears, whoever it belongs to.

    Raises:
        Damaged: it is a record of something else, or not what was signed.
    """

    statement = {name: value for name, value in signed.items() if name != "signature"}
    try:
        public = bytes.fromhex(signed["key"])
        signature = bytes.fromhex(signed["signature"])
        Ed25519PublicKey.from_public_bytes(public).verify(signature, json_bytes(statement))
    except (KeyError, TypeError, ValueError, InvalidSignature) as error:
        raise Damaged(
            f"{file.name} is not what was signed: expected a signature over its content, found "
            "one that does not fit",
            where=str(file),
            todo=_AGAIN,
        ) from error
    if statement.get("what") != what:
        raise Damaged(
            f"{file.name} is signed as something else: expected {what!r}, found "
            f"{str(statement.get('what'))[:60]!r}",
            where=str(file),
            todo=_AGAIN,
        )
    return public


def read_signed(file: Path) -> dict[str, Any]:
    """A signed record as it was written, not yet checked.

    Raises:
        Damaged: it is not there or is not a JSON object.
    """
    raw = read_json(file)
    if not isinstance(raw, dict):
        raise Damaged(f"{file.name} is not a signed record", where=str(file), todo=_AGAIN)
    return raw


def changed_file(file: Path, expected: str, found: str) -> Damaged:
    """The error for a file that is not what was written: names it, and both hashes."""
    return Damaged(
        f"{file.name} is not what was written: expected {expected[:12]}, found {found[:12]}",
        where=str(file),
        todo="Restore it from a backup, or make it again.",
    )


def read_fingerprint(text: str) -> str:
    """A fingerprint as people give it, with or without spaces and colons.

    Raises:
        InvalidInput: it is none.
    """
    plain = text.replace(":", "").replace(" ", "").lower()
    if len(plain) != 32 or any(letter not in "0123456789abcdef" for letter in plain):
        raise InvalidInput(
            f"{text!r} is not a key's fingerprint",
            todo="It has 32 hexadecimal digits; ask whoever signed for theirs (copydesk doctor).",
        )
    return plain


def _state(file: Path) -> tuple[int, ...] | None:
    """What changes when a file or folder does; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _no_key(file: Path) -> Damaged:
    return Damaged(
        "The signing key cannot be read",
        where=str(file),
        todo="Restore it from a backup, or remove it: a new one is then made.",
    )


def _read_public(file: Path) -> bytes | None:

    try:
        key = form.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError):
        return None
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


def _public_pem(public: bytes) -> bytes:

    return Ed25519PublicKey.from_public_bytes(public).public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
