"""Bundles: what was packed comes out, and nothing that an enemy packed does harm."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from copydesk.errors import AlreadyThere, CopydeskError, Damaged, InvalidInput
from copydesk.store import (
    Keyring,
    building,
    json_bytes,
    open_artifact,
    read_bundle,
    unpack_bundle,
    write_bundle,
)

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """An artifact of two files as a bundle."""
    with building(tmp_path / "made", kind="versions", inputs={"base": "b"}) as artifact:
        (artifact.path / "deep").mkdir()
        (artifact.path / "deep" / "weights").write_bytes(bytes(range(256)) * 20)
        (artifact.path / "config.json").write_text("{}")
        artifact.facts["score"] = 1
    assert artifact.manifest is not None
    file = tmp_path / "a.bundle"
    record = {"version": "acme@1"}
    keys = Keyring(tmp_path)
    write_bundle(artifact.path, artifact.manifest, file, record=record, keys=keys)
    return file


def members(file: Path) -> list[Member]:
    with tarfile.open(file) as tar:
        found = [(item, tar.extractfile(item)) for item in tar]
        return [(item, content.read() if content else b"") for item, content in found]


def write(file: Path, parts: list[Member]) -> None:
    with tarfile.open(file, "w") as tar:
        for item, content in parts:
            if item.isreg():
                item.size = len(content)
            tar.addfile(item, io.BytesIO(content) if item.isreg() else None)


def plain(name: str, content: bytes = b"x") -> Member:
    return tarfile.TarInfo(name), content


def special(name: str, kind: bytes, target: str = "") -> Member:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, target
    return item, b""


def resigned(file: Path, names: dict[str, str], **changes: object) -> list[Member]:
    """The bundle with other names in its manifest, signed by the enemy's own key."""
    parts = members(file)
    manifest = json.loads(parts[1][1])
    manifest["files"] = names
    raw = json_bytes(manifest | changes)
    keys = Keyring(file.parent / "enemy")
    record = {"version": "acme@1", "manifest": hashlib.sha256(raw).hexdigest()}
    head = json_bytes(keys.sign("copydesk bundle/1", record))
    return [plain("bundle.json", head), plain("manifest.json", raw), *parts[2:]]


def outside(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_was_packed_comes_out(packed: Path, tmp_path: Path) -> None:
    bundle = read_bundle(packed)
    assert bundle.record["version"] == "acme@1"
    assert bundle.key == Keyring(tmp_path).own()
    unpack_bundle(bundle, tmp_path / "out")
    original = open_artifact(tmp_path / "made")
    assert bundle.manifest == original.manifest
    for name in bundle.manifest.files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "made" / name).read_bytes()
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))


def test_equal_artifacts_give_equal_bytes(packed: Path, tmp_path: Path) -> None:
    artifact = open_artifact(tmp_path / "made")
    assert artifact.manifest is not None
    again = tmp_path / "again.bundle"
    record = {"version": "acme@1"}
    write_bundle(artifact.path, artifact.manifest, again, record=record, keys=Keyring(tmp_path))
    assert again.read_bytes() == packed.read_bytes()


def test_a_changed_artifact_is_not_packed(tmp_path: Path, packed: Path) -> None:
    artifact = open_artifact(tmp_path / "made")
    assert artifact.manifest is not None
    (artifact.path / "config.json").write_text("[]")
    with pytest.raises(Damaged, match=r"config\.json"):
        write_bundle(
            artifact.path, artifact.manifest, tmp_path / "b", record={}, keys=Keyring(tmp_path)
        )
    assert not (tmp_path / "b").exists()


def cut(parts: list[Member]) -> list[Member]:
    return parts[:-1]


def doubled(parts: list[Member]) -> list[Member]:
    return [*parts, parts[-1]]


def longer(parts: list[Member]) -> list[Member]:
    return [*parts[:-1], (parts[-1][0], parts[-1][1] + b"x")]


def swapped_head(parts: list[Member]) -> list[Member]:
    return [parts[1], parts[0], *parts[2:]]


def other_facts(parts: list[Member]) -> list[Member]:
    return [parts[0], (parts[1][0], parts[1][1].replace(b'"score":1', b'"score":9')), *parts[2:]]


def other_record(parts: list[Member]) -> list[Member]:
    return [(parts[0][0], parts[0][1].replace(b"acme@1", b"acme@2")), *parts[1:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut, "expected .*found nothing"),
        (doubled, "does not list"),
        (longer, "expected .*found"),
        (swapped_head, "no bundle"),
        (other_facts, r"manifest\.json is not what was written: expected .*found"),
        (other_record, "not what was signed"),
        (lambda parts: [*parts, plain("files/extra")], "does not list"),
        (lambda parts: [*parts, plain("/etc/evil")], "does not list"),
        (lambda parts: [*parts, plain("files/../../evil")], "does not list"),
        (lambda parts: [*parts, special("files/link", tarfile.SYMTYPE, "/etc")], "no plain file"),
        (lambda parts: [*parts, special("files/link", tarfile.LNKTYPE, "x")], "no plain file"),
        (lambda parts: [*parts, special("files/pipe", tarfile.FIFOTYPE)], "no plain file"),
        (lambda parts: [*parts, special("files/null", tarfile.CHRTYPE)], "no plain file"),
        (lambda parts: [*parts, special("files/deep", tarfile.DIRTYPE)], "no plain file"),
        (lambda parts: [special("bundle.json", tarfile.SYMTYPE, "/etc/passwd")], "no plain file"),
        (lambda parts: parts[:1], "found its end"),
        (lambda parts: [], "found its end"),
        (lambda parts: [plain("bundle.json", b"{}" + b" " * 70_000), *parts[1:]], "at most"),
        (lambda parts: [plain("bundle.json", b"[]"), *parts[1:]], "not a record"),
        (lambda parts: [plain("bundle.json", b"[" * 60_000), *parts[1:]], "not a record"),
    ],
)
def test_a_changed_bundle_is_refused(
    packed: Path, tmp_path: Path, change: Callable[[list[Member]], list[Member]], said: str
) -> None:
    evil = tmp_path / "evil.bundle"
    write(evil, change(members(packed)))
    before = outside(tmp_path)
    with pytest.raises(CopydeskError, match=said):
        unpack_bundle(read_bundle(evil), tmp_path / "out")
    assert {name for name in outside(tmp_path) - before if not name.startswith("out/")} == set()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/evil",
        "a/../../evil",
        "a//b",
        "./a",
        "",
        ".hidden",
        "a\\b",
        "C:evil",
        "a\nb",
        "manifest.json",
        "Manifest.SIG",
        "é",
        "/".join("abcdefghi"),
        "a" * 300,
    ],
    ids=repr,
)
def test_names_that_lead_elsewhere_are_refused_though_signed(
    packed: Path, tmp_path: Path, name: str
) -> None:
    evil = tmp_path / "evil.bundle"
    digest = hashlib.sha256(b"x").hexdigest()
    parts = resigned(packed, {name: digest})
    write(evil, [*parts[:2], plain(f"files/{name}")])
    with pytest.raises(InvalidInput, match="cannot be a file"):
        read_bundle(evil)


@pytest.mark.parametrize(
    "names", [{"a": "0", "A": "0"}, {"a": "0", "a/b": "0"}, {"B/c": "0", "b": "0"}, {"a": 3}]
)
def test_names_in_each_others_way_are_refused(
    packed: Path, tmp_path: Path, names: dict[str, str]
) -> None:
    evil = tmp_path / "evil.bundle"
    write(evil, resigned(packed, names))
    with pytest.raises(InvalidInput, match="cannot be a file"):
        read_bundle(evil)


def test_limits_on_bytes_and_files(packed: Path, tmp_path: Path) -> None:
    bundle = read_bundle(packed)
    with pytest.raises(InvalidInput, match="more than 5000 bytes"):
        unpack_bundle(bundle, tmp_path / "out", most=5000)
    evil = tmp_path / "evil.bundle"
    write(evil, resigned(packed, {f"f{number}": "0" for number in range(10_001)}))
    with pytest.raises(InvalidInput, match="over 10000 files"):
        read_bundle(evil)
    huge = tmp_path / "huge.bundle"
    with huge.open("wb") as out:
        out.truncate(1 << 30)  # takes no room on disk
    with pytest.raises(InvalidInput, match="over 1000 bytes"):
        read_bundle(huge, most=1000)
    with pytest.raises(InvalidInput, match="no bundle"):
        read_bundle(huge)


@pytest.mark.parametrize("part", range(16))
def test_a_bundle_that_was_cut_off_is_refused(packed: Path, tmp_path: Path, part: int) -> None:
    content = packed.read_bytes()
    end = len(content.rstrip(b"\0"))
    short = tmp_path / "short.bundle"
    short.write_bytes(content[: end * part // 16])
    with pytest.raises(CopydeskError):
        unpack_bundle(read_bundle(short), tmp_path / "out")


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_packed_bundles_are_not_opened(packed: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.tar.{kind}"
    with tarfile.open(file, f"w:{kind}") as tar:  # type: ignore[call-overload]
        tar.add(packed, "bundle.json")
    with pytest.raises(InvalidInput, match="no bundle"):
        read_bundle(file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InvalidInput):
            read_bundle(path)
    assert issubclass(AlreadyThere, CopydeskError)


def test_a_file_that_changes_between_reading_and_unpacking(packed: Path, tmp_path: Path) -> None:
    bundle = read_bundle(packed)
    parts = resigned(packed, dict(bundle.manifest.files))
    write(packed, parts)
    with pytest.raises(InvalidInput, match="changed while"):
        unpack_bundle(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()
