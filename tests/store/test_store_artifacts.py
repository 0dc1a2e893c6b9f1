"""Artifacts: there whole or not at all, also when the process is killed."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hard_kills import nursery

from copydesk.errors import AlreadyThere, CopydeskError, Damaged
from copydesk.store import (
    building,
    file_sha256,
    folder_bytes,
    json_bytes,
    json_digest,
    open_artifact,
    read_json,
)

BUILD_FOREVER = """
ready()
for number in itertools.count():
    with building(target / f"thing-{number:06d}", kind="thing", inputs={"n": str(number)}) as made:
        (made.path / "sub").mkdir()
        for part in range(4):
            (made.path / "sub" / f"{part}.bin").write_bytes(os.urandom(4000))
        made.facts["parts"] = 4
"""


def spawn(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a script in a child and wait until it says that it is ready."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def kill_hard(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def build_one(target: Path, text: str = "words") -> None:
    with building(target, kind="note", inputs={"from": "abc"}) as artifact:
        (artifact.path / "deep").mkdir()
        (artifact.path / "deep" / "words.txt").write_text(text)
        artifact.facts["count"] = 1


def test_a_built_artifact_opens_and_tells_what_it_is(tmp_path: Path) -> None:
    build_one(tmp_path / "a")
    opened = open_artifact(tmp_path / "a")
    assert opened.manifest is not None
    assert opened.manifest.kind == "note"
    assert opened.manifest.inputs == {"from": "abc"}
    assert opened.manifest.facts == {"count": 1}
    assert opened.manifest.files == {
        "deep/words.txt": file_sha256(tmp_path / "a" / "deep" / "words.txt")
    }
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    manifest = (tmp_path / "a" / "manifest.json").stat().st_size
    assert folder_bytes(tmp_path / "a") == len("words") + manifest


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        build_one(tmp_path / name, text)
    first, again, other = (open_artifact(tmp_path / name).digest for name in "abc")
    assert first == again != other


def test_nothing_is_left_of_a_build_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with building(tmp_path / "a", kind="note", inputs={}) as artifact:
            (artifact.path / "words.txt").write_text("half")
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    build_one(tmp_path / "a", "first")
    with pytest.raises(AlreadyThere):
        build_one(tmp_path / "a", "second")
    assert (tmp_path / "a" / "deep" / "words.txt").read_text() == "first"
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


@pytest.mark.parametrize("harm", ["change", "cut", "remove", "swap for a folder"])
def test_a_tampered_file_is_named(tmp_path: Path, harm: str) -> None:
    build_one(tmp_path / "a")
    file = tmp_path / "a" / "deep" / "words.txt"
    if harm == "change":
        file.write_text("worde")
    elif harm == "cut":
        file.write_text("wor")
    else:
        file.unlink()
        if harm == "swap for a folder":
            file.mkdir()
    with pytest.raises(Damaged, match=r"deep/words\.txt"):
        open_artifact(tmp_path / "a")
    open_artifact(tmp_path / "a", verify=False)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"{}", b"[]", b"null", b'{"kind": "note", "files": 3}']
)
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    build_one(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"manifest\.json"):
        open_artifact(tmp_path / "a")


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(Damaged, match=r"manifest\.json"):
        open_artifact(tmp_path / "a")


def test_builds_killed_at_any_moment_leave_only_whole_artifacts(tmp_path: Path) -> None:
    draw = random.Random(5)
    whole = halves = 0
    with nursery(BUILD_FOREVER) as children:
        for attempt in range(40):
            root = tmp_path / str(attempt)
            children.kill_after(draw.uniform(0.0, 0.06), root)
            found = list(root.glob("thing-*"))
            for path in found:
                opened = open_artifact(path)
                assert opened.manifest is not None
                assert len(opened.manifest.files) == opened.manifest.facts["parts"] == 4
            whole += len(found)
            halves += len(list(root.glob(".building-*")))
            build_one(root / "next")
            assert {path.name for path in root.iterdir()} == {"next", *(p.name for p in found)}
    assert whole > 8
    assert halves > 8, "many kills hit a build that was under way"


def test_leftovers_of_a_running_process_are_kept(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from copydesk.store import building
with building(Path(sys.argv[1]) / "slow", kind="thing", inputs={}) as made:
    (made.path / "words.txt").write_text("not yet")
    print("ready", flush=True)
    time.sleep(60)
"""
    child = spawn(script, tmp_path)
    try:
        (aside,) = tmp_path.glob(".building-*")
        build_one(tmp_path / "quick")
        assert (aside / "words.txt").read_text() == "not yet"
    finally:
        kill_hard(child)
    build_one(tmp_path / "later")
    assert not aside.exists()
    assert not (tmp_path / "slow").exists()


def test_a_strangely_named_folder_beside_does_not_stop_a_build(tmp_path: Path) -> None:
    (tmp_path / ".building-by-hand").mkdir()
    build_one(tmp_path / "a")
    open_artifact(tmp_path / "a")


def test_canonical_json() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ü": "é\n", "z": ""}}
    assert json_bytes(value) == '{"a":{"z":"","ü":"é\\n"},"b":[1,2.5,null,true]}'.encode()
    assert json_digest({"x": 1, "y": (2, 3)}) == json_digest({"y": [2, 3], "x": 1})
    assert json_digest({"x": 1}) != json_digest({"x": "1"})
    # sha256sum of the two characters {}
    assert json_digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(ValueError, match="JSON"):
        json_bytes(float("nan"))
    assert json.loads(json_bytes(value)) == value


def test_json_that_is_not_there_is_damage(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"gone\.json") as caught:
        read_json(tmp_path / "gone.json")
    assert isinstance(caught.value, CopydeskError)
    assert caught.value.fault == "machine"
    assert str(tmp_path / "gone.json") in str(caught.value)
    assert os.path.sep in str(caught.value)
