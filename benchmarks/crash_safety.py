"""kill -9 at random points of train, promote, rollback, delete and import; then the doctor.

    python benchmarks/crash_safety.py [--kills 200] [--seed 7]

One workspace on a tiny random base goes through it all, so that what a kill leaves meets the next
one. Each time a child is forked that does one operation through the workspace's own verbs. Every
other one gets SIGKILL after a time drawn evenly from the length of the operation; the rest at one
of its changes of the disk, drawn evenly from all of them: a file opened to be written, renamed,
linked or removed, a folder made or removed, or an fsync. So moments are hit that take no time.
(SQLite's own changes are not seen; what changes the catalogue alone is killed by time.)
Children that end before count for nothing, until `--kills` were hit. After every kill `doctor
--repair` must leave a sound workspace, and then these are counted:

- `lost_promotions`: what speaks is neither what spoke before nor what the operation promotes, or
  cannot be opened with its hashes and signature, or a row of the history is gone;
- `half_seen`: something that is listed is not whole, a version that was there before is not there
  any more, or a deletion is neither undone nor done: its canary can be found, or it has no receipt;
- `catalogue_errors`: SQLite's integrity check or its foreign keys complain;
- `unsound`: the doctor finds something after it has repaired.

All must be 0. `ours` also says for each operation how many kills found it not begun, how many done,
and how often the doctor had something to mend.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads do not survive a fork

from _case import ROOT, SAMPLES, emit, versions

sys.path.insert(0, str(ROOT / "tests"))

import torch
from conftest import write_tiny_base

import copydesk
from copydesk import Workspace
from copydesk.desk import examine
from copydesk.errors import CopydeskError
from copydesk.registry import history, promoted_number
from copydesk.store import Entry, open_artifact

OPERATIONS = ("train", "promote", "rollback", "delete", "import")
QUICK = {"max_steps": 3, "max_length": 256, "dtype": "float32"}
CANARY = "zanzibarine"
CLIENT = "acme"
REASON = "the benchmark promotes without gates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What can be said of the workspace from outside."""

    clients: frozenset[str]
    live: int | None
    history: tuple[tuple[str, int, int | None], ...]
    listed: tuple[Entry, ...]


@dataclass(slots=True, kw_only=True)
class Case:
    """An operation about to be killed."""

    name: str
    run: Callable[[Workspace], object]
    subject: str = CLIENT
    promotes: frozenset[int | None] = frozenset()
    """What may speak once it is done, beside what spoke before."""


def make_workspace(root: Path) -> Path:
    """Two versions of a client, one of them live; returns a bundle of the second."""
    base = write_tiny_base(root.parent / "base")
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(
        f'base = "{base}"\ncheckpoint_seconds = 0\n', encoding="utf-8"
    )
    with copydesk.open(root) as workspace:
        workspace.add_client(CLIENT)
        workspace.curate(CLIENT, [SAMPLES / "fernwick" / "posts.jsonl"])
        for _ in range(2):
            assert not workspace.train([CLIENT], method="lora", settings=QUICK).failed
        workspace.promote(f"{CLIENT}@1", force=True, reason=REASON)
        return workspace.export(f"{CLIENT}@2", to="bundle", folder=root.parent / "v.bundle")


def prepared(root: Path, name: str, bundle: Path, number: int) -> Case:
    """Bring the workspace to where an operation can start."""
    if name == "train":
        settings = {**QUICK, "seed": number}
        return Case(
            name=name, run=lambda w: w.train([CLIENT], method="lora", settings=settings)
        )  # fmt: skip
    if name == "import":
        subject = f"in-{number}"
        return Case(
            name=name, subject=subject, run=lambda w: w.import_version(bundle, client=subject)
        )  # fmt: skip
    with copydesk.open(root) as workspace:
        if name == "delete":
            subject = f"gone-{number}"
            _fill(workspace, subject, root.parent / "pages.jsonl", bundle)
            return Case(name=name, subject=subject, run=lambda w: w.delete_client(subject))
        live = promoted_number(workspace.catalogue, CLIENT)
        other = next(
            entry.number
            for entry in reversed(workspace.catalogue.entries("versions", CLIENT))
            if entry.number != live
        )
        if name == "promote":
            return Case(
                name=name,
                promotes=frozenset({other}),
                run=lambda w: w.promote(f"{CLIENT}@{other}", force=True, reason=REASON),
            )
        workspace.promote(f"{CLIENT}@{other}", force=True, reason=REASON)
    return Case(name=name, promotes=frozenset({live}), run=lambda w: w.rollback(CLIENT))


def _fill(workspace: Workspace, client: str, pages: Path, bundle: Path) -> None:
    """A client with pages, a guide, a version and a draft's file."""
    if not pages.exists():
        lines = (SAMPLES / "moonmilk" / "posts.jsonl").read_text("utf-8").splitlines()
        with pages.open("w", encoding="utf-8") as out:
            for line in lines:
                page = json.loads(line)
                page["body_markdown"] = f"{CANARY} {page['body_markdown']} {CANARY}"
                out.write(json.dumps(page) + "\n")
    workspace.add_client(client)
    workspace.curate(client, [pages])
    workspace.import_version(bundle, client=client)
    draft = workspace.client_folder(client) / "drafts" / "0001-x.md"
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(CANARY, encoding="utf-8")


_CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}


class Changes:
    """Counts what a process changes on disk below a folder, and may end it at one of them."""

    def __init__(self, root: Path, last: int | None) -> None:
        self.count = 0
        self._root, self._last = str(root), last
        self._fsync = os.fsync
        sys.addaudithook(self._hear)
        os.fsync = self._flush  # has no audit event

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in _CHANGES:
            return
        if str(arguments[0]).startswith(self._root):
            self._step()

    def _flush(self, handle: int) -> None:
        self._step()
        self._fsync(handle)

    def _step(self) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def working(root: Path, case: Case, last: int | None = None) -> Iterator[int]:
    """A child that opens the workspace, says that it is ready, and does the operation.

    It ends at its change number `last` of the disk, and else leaves in a file how many it made.
    """
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with (root.parent / "child.log").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            with copydesk.open(root) as workspace:
                changes = Changes(root, last)
                os.write(say, b".")
                case.run(workspace)
            (root.parent / "changes").write_text(str(changes.count))
            code = 0
        finally:
            os._exit(code)
    os.close(say)
    try:
        os.read(hear, 1)
        yield child
    finally:
        os.close(hear)


def length(root: Path, case: Case) -> tuple[float, int]:
    """Seconds that the operation takes when nobody kills it, and how often it changes the disk."""
    with working(root, case) as child:
        began = time.perf_counter()
        _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit(f"{case.name} failed by itself: see the log of its child")
    return time.perf_counter() - began, int((root.parent / "changes").read_text())


def killed(root: Path, case: Case, *, seconds: float | None, change: int | None) -> bool:
    """Whether a kill after so long, or at this change of the disk, found the child at work."""
    with working(root, case, change) as child:
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def look(root: Path) -> Seen:
    with copydesk.open(root) as workspace:
        catalogue = workspace.catalogue
        return Seen(
            clients=frozenset(row.name for row in catalogue.clients()),
            live=promoted_number(catalogue, CLIENT),
            history=tuple(
                (item.action, item.number, item.previous) for item in history(catalogue, CLIENT)
            ),
            listed=catalogue.listed(),
        )


def judge(root: Path, case: Case, before: Seen, after: Seen, faults: Counter[str]) -> None:
    """Count what must not be."""
    with copydesk.open(root) as workspace:
        keys = workspace.catalogue.keys
        whole: set[tuple[str, str, int]] = set()
        for entry in after.listed:
            try:
                found = open_artifact(entry.path, keys=keys)
                assert found.digest == entry.digest
                whole.add((entry.kind, entry.client, entry.number))
            except (CopydeskError, AssertionError):
                faults["half_seen"] += 1
    allowed = {before.live, *case.promotes}
    if after.live not in allowed or ("versions", CLIENT, after.live) not in whole:
        faults["lost_promotions"] += 1
    if after.history[: len(before.history)] != before.history:
        faults["lost_promotions"] += 1
    gone = {e for e in before.listed if e not in after.listed}
    if any(case.name != "delete" or entry.client != case.subject for entry in gone):
        faults["half_seen"] += 1
    if case.name == "delete" and case.subject not in after.clients:
        left = [path for path in root.rglob("*") if path.is_file() and _holds(path)]
        if left or gone != {e for e in before.listed if e.client == case.subject}:
            faults["half_seen"] += 1
        if not list((root / "receipts").glob("*.json")):
            faults["half_seen"] += 1
    with sqlite3.connect(root / "copydesk.db") as raw:
        sound = raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not sound or raw.execute("PRAGMA foreign_key_check").fetchall():
            faults["catalogue_errors"] += 1
    raw.close()


def _holds(path: Path) -> bool:
    content = path.read_bytes()
    return CANARY.encode() in content


def outcome(case: Case, before: Seen, after: Seen) -> str:
    """`not begun` or `done`, as seen from outside once the doctor was there."""
    if case.name == "delete":
        return "done" if case.subject not in after.clients else "not begun"
    return "not begun" if before == after else "done"


def run(root: Path, kills: int, seed: int) -> dict[str, Any]:
    """All kills; what they did, by operation, and the faults."""
    draw = random.Random(seed)
    bundle = make_workspace(root)
    lengths = {
        name: length(root, prepared(root, name, bundle, 900 + index))
        for index, name in enumerate(OPERATIONS)
    }
    told: dict[str, Counter[str]] = {name: Counter() for name in OPERATIONS}
    faults: Counter[str] = Counter(
        lost_promotions=0, half_seen=0, catalogue_errors=0, unsound=0
    )  # fmt: skip
    number = hit = 0
    while hit < kills:
        number += 1
        name = OPERATIONS[hit % len(OPERATIONS)]
        case = prepared(root, name, bundle, number)
        before = look(root)
        longest, most = lengths[name]
        by_time = most == 0 or (hit // len(OPERATIONS)) % 2 == 0  # SQLite's own are not seen
        seconds = draw.uniform(0, longest) if by_time else None
        change = None if by_time else draw.randint(1, most)
        if not killed(root, case, seconds=seconds, change=change):
            told[name]["ended before the kill"] += 1
            _tidy(root, case)
            continue
        hit += 1
        told[name]["kills"] += 1
        mended = examine(root, repair=True)
        told[name]["doctor had to mend"] += any(item.repaired for item in mended.found)
        if not mended.healthy or any(i.severity == "error" for i in examine(root).found):
            faults["unsound"] += 1
            print(f"{number} {name}: {mended.found}", file=sys.stderr)
        after = look(root)
        told[name][outcome(case, before, after)] += 1
        judge(root, case, before, after, faults)
        _tidy(root, case)
    return {"by_operation": {k: dict(v) for k, v in told.items()}, "faults": dict(faults)} | {
        "seconds_of_operations": {name: round(value[0], 3) for name, value in lengths.items()},
        "disk_changes_of_operations": {name: value[1] for name, value in lengths.items()},
    }


def _tidy(root: Path, case: Case) -> None:
    """Remove the client that an operation was about, where it is not the main one."""
    if case.subject == CLIENT:
        return
    with copydesk.open(root) as workspace:
        if any(row.name == case.subject for row in workspace.catalogue.clients()):
            workspace.delete_client(case.subject)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        ours = run(Path(folder) / "agency", given.kills, given.seed)
        seconds = time.perf_counter() - began
    emit(
        {
            "benchmark": "crash-safety",
            "versions": versions("copydesk", "torch", "filelock", "cryptography"),
            "kills": given.kills,
            "seed": given.seed,
            "seconds": round(seconds, 1),
            "ours": ours,
            "rival": None,
            "ratio": None,
        }
    )
    if any(ours["faults"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
