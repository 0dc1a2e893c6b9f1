"""A corpus of any size cleaned, deduplicated and split, in bounded memory and by several workers.

Four stages: survey each part, clean each part, find duplicates over the sketches of all, write. The
first two are functions of one part and run wherever a `Mapper` sends them; the outcome does not
depend on it. A run that was killed goes on with the parts that are not done.

Memory: a worker holds one part (16 MiB of lines and what is made of them); the whole takes about
500 bytes a page, for its keys, its place in time and its duplicates.
"""

import hashlib
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from copydesk.corpus._boilerplate import FEWEST_PAGES, least_pages
from copydesk.corpus._cleaning import STEPS, Count
from copydesk.corpus._kernels import load_kernels
from copydesk.corpus._language import LEAST_SHARE
from copydesk.corpus._lines import rejection_line
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._shards import NO_DAY, Known, Part, clean, hash_of, parts_of, survey
from copydesk.corpus._signals import Hashes, mixed
from copydesk.corpus._twins import Twins, find_twins
from copydesk.errors import InvalidInput, NotEnoughText, OutOfMemory
from copydesk.records import FunnelStep, Listener, Progress, ignore_progress
from copydesk.store import read_json

_DEFAULTS: Final = CurateSettings()
_LINES_AT_ONCE: Final = 4_000_000


class Mapper(Protocol):
    """Runs a function on every part, in this process or elsewhere, and gives what it returns."""

    def __call__(self, work: Callable[[Part], int], parts: Sequence[Part]) -> Iterator[int]:
        """Results in any order. `work` can be sent to another process."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clean:
    """`clean` with what the survey found: a function of one part that can be sent."""

    known: Known

    def __call__(self, part: Part) -> int:
        return clean(part, self.known)


def in_processes(workers: int) -> Mapper:
    """Parts in so many processes of this machine; with one, in this process."""

    def run(work: Callable[[Part], int], parts: Sequence[Part]) -> Iterator[int]:
        if workers == 1:
            yield from map(work, parts)
            return
        load_kernels()  # built before there are workers, who would each build them
        # Forked children would inherit the locks of threads that they do not have.
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(
                workers, mp_context=context, initializer=_end_with_parent
            ) as pool:
                yield from pool.map(work, parts)
        except BrokenProcessPool as error:
            raise OutOfMemory(
                "A process that cleaned pages was ended from outside",
                todo="Run the same command again to go on; with fewer workers if memory was short.",
            ) from error

    return run


def _end_with_parent() -> None:
    """End this process when the one that started it is killed: nothing else would tell it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedCorpus:
    """What became of a corpus. Its pages are in the folder's files."""

    train: int
    heldout: int
    rejected: int
    funnel: tuple[FunnelStep, ...]
    languages: Mapping[str, int]
    """Recognised ones, the most frequent first."""
    split: str
    digest: str
    """SHA-256 of `train.jsonl`, `heldout.jsonl` and `rejected.jsonl`, in that order."""


def clean_corpus(
    files: Sequence[Path],
    folder: Path,
    *,
    client: str,
    work: Path,
    settings: CurateSettings = _DEFAULTS,
    mapper: Mapper | None = None,
    listener: Listener = ignore_progress,
) -> CleanedCorpus:
    """Clean, deduplicate and split JSON lines into `train.jsonl`, `heldout.jsonl` and
    `rejected.jsonl`.

    Pages are judged as `curate` judges them. Near-duplicates are told by estimated likeness, and
    texts are exact duplicates when 64 bits of their hashes are equal.

    Args:
        files: JSON lines, read in the order of their paths; where pages stand is told from the
            folder that holds all of them.
        folder: where the three files go; it exists.
        client: whose pages they are.
        work: where parts that are done are kept; the same folder again goes on from there. Where
            workers are on several machines, they all see it. It is the caller's to remove.
        settings: as for `curate`.
        mapper: where parts are worked on; by default in this process.
        listener: receives an event for each part.

    Raises:
        InvalidInput: a file is not there, or is not JSON lines.
        NotEnoughText: too few pages are left.
        OutOfMemory: a worker was killed.
    """
    for path in files:
        if not path.is_file() or path.suffix.lower() not in (".jsonl", ".ndjson"):
            raise InvalidInput(
                "A large corpus is read from files of JSON lines",
                where=str(path),
                todo="Use .jsonl files, or curate without workers.",
            )
    work.mkdir(parents=True, exist_ok=True)
    parts = list(parts_of(files, client=client, work=work, settings=settings))
    run = mapper or in_processes(1)
    _each(run, survey, parts, f"survey {client}", listener)
    first_line, numbered, languages = 1, list[Part](), Counter[str]()
    for part in parts:
        if part.start == 0:
            first_line = 1
        numbered.append(replace(part, first_line=first_line))
        found = read_json(part.file("survey.json"))
        first_line += found["lines"]
        languages.update(found["languages"])
    known = Known(
        languages=frozenset(settings.languages)
        or frozenset(
            name for name, count in languages.items() if count >= LEAST_SHARE * languages.total()
        ),
        recurring=_write_recurring(parts, work / "recurring.npz"),
    )
    _each(run, _Clean(known=known), numbered, f"clean {client}", listener)
    twins = find_twins(numbered, threshold=settings.near_duplicate, keep=settings.keep)
    return _write(numbered, folder, twins, settings, languages)


def _each(
    run: Mapper, work: Callable[[Part], int], parts: Sequence[Part], task: str, listener: Listener
) -> None:
    for done, _ in enumerate(run(work, parts), start=1):
        listener(Progress(task=task, done=done, total=len(parts), unit="parts"))


def _write_recurring(parts: Sequence[Part], path: Path) -> Path:
    """Add the parts' surveys up: which lines stand on how many pages of their site.

    A slice of the hashes at a time, so that memory does not grow with the corpus.
    """
    pages: Counter[int] = Counter()
    total = 0
    for part in parts:
        with np.load(part.file("survey.npz")) as arrays:
            total += len(arrays["lines"])
            for site, count in zip(arrays["site_hashes"], arrays["site_pages"], strict=True):
                pages[int(site)] += int(count)
    slices = 1 + total // _LINES_AT_ONCE
    sites_found: list[Hashes] = []
    lines_found: list[Hashes] = []
    for turn in range(slices):
        lines, sites = _slice(parts, turn, slices)
        with np.errstate(over="ignore"):
            order = np.argsort(mixed(lines ^ mixed(sites)), kind="stable")
        lines, sites = lines[order], sites[order]
        new = np.concatenate(([True], (lines[1:] != lines[:-1]) | (sites[1:] != sites[:-1])))
        starts = np.flatnonzero(new[: len(lines)])
        counts = np.diff(np.append(starts, len(lines)))
        for at in np.flatnonzero(counts >= least_pages(FEWEST_PAGES)):
            site = int(sites[starts[at]])
            if pages[site] >= FEWEST_PAGES and counts[at] >= least_pages(pages[site]):
                sites_found.append(sites[starts[at]])
                lines_found.append(lines[starts[at]])
    with path.open("wb") as file:
        np.savez(
            file,
            sites=np.array(sites_found, dtype=np.uint64),
            lines=np.array(lines_found, dtype=np.uint64),
        )
    return path


def _slice(parts: Sequence[Part], turn: int, slices: int) -> tuple[Hashes, Hashes]:
    lines: list[Hashes] = []
    sites: list[Hashes] = []
    for part in parts:
        with np.load(part.file("survey.npz")) as arrays:
            here = arrays["lines"] % np.uint64(slices) == turn
            lines.append(arrays["lines"][here])
            sites.append(arrays["site_hashes"][arrays["sites"][here]])
    return np.concatenate(lines), np.concatenate(sites)


def _write(
    parts: Sequence[Part],
    folder: Path,
    twins: Twins,
    settings: CurateSettings,
    languages: Counter[str],
) -> CleanedCorpus:
    kept = twins.cause == 0
    count = int(kept.sum())
    heldout_count = settings.heldout_count(count)
    if count - heldout_count < settings.min_train:
        raise NotEnoughText(
            f"{count} pages are left and at least {settings.fewest_documents()} are needed",
            todo="Add pages, or see which rules rejected them with a smaller set.",
        )
    dated = not (twins.days[kept] == NO_DAY).any()
    split = "time" if settings.split == "time" and dated else "seed"
    heldout = _heldout(twins, kept, heldout_count, split, settings.seed)
    rejected = 0
    with (
        (folder / "train.jsonl").open("wb") as train_file,
        (folder / "heldout.jsonl").open("wb") as heldout_file,
        (folder / "rejected.jsonl").open("wb") as rejected_file,
    ):
        outputs = [_Output(file) for file in (train_file, heldout_file, rejected_file)]
        row = 0
        for part in parts:
            for line in part.file("rejected.jsonl").read_bytes().splitlines(keepends=True):
                outputs[2].put(line)
                rejected += 1
            with part.file("kept.jsonl").open("rb") as lines:
                for line in lines:
                    if kept[row]:
                        outputs[int(heldout[row])].put(line)
                    else:
                        outputs[2].put(rejection_line(twins.rejection(parts, row)))
                        rejected += 1
                    row += 1
    digest = hashlib.sha256(b"".join(one.digest.digest() for one in outputs)).hexdigest()
    return CleanedCorpus(
        train=count - int(heldout.sum()),
        heldout=int(heldout.sum()),
        rejected=rejected,
        funnel=_funnel(parts, twins),
        languages=dict(sorted(languages.items(), key=lambda pair: (-pair[1], pair[0]))),
        split=split,
        digest=digest,
    )


class _Output:
    """A file and the hash of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def put(self, line: bytes) -> None:
        self._file.write(line)
        self.digest.update(line)


def _heldout(
    twins: Twins, kept: NDArray[np.bool_], count: int, split: str, seed: int
) -> NDArray[np.bool_]:
    """[N] which pages are held out: the newest, or drawn; none that tells another's story."""
    rows = np.flatnonzero(kept & ~twins.alike)
    with np.errstate(over="ignore"):
        drawn = mixed(twins.ids[rows] ^ np.uint64(hash_of(str(seed))))
    by_time = np.lexsort((twins.ids[rows], -twins.days[rows].astype(np.int64)))
    order = by_time if split == "time" else np.argsort(drawn, kind="stable")
    found = np.zeros(len(kept), dtype=bool)
    found[rows[order[:count]]] = True
    return found


def _funnel(parts: Sequence[Part], twins: Twins) -> tuple[FunnelStep, ...]:
    totals = {name: Count() for name in ("read", *STEPS)}
    for part in parts:
        for name, counted in read_json(part.file("clean.json"))["counts"].items():
            for key, value in counted.items():
                setattr(totals[name], key, getattr(totals[name], key) + value)
    pages = len(twins.cause)
    same, near = (int(np.isin(twins.cause, causes).sum()) for causes in ((1, 2), (3,)))
    return (
        *(count.step(name) for name, count in totals.items()),
        FunnelStep(step="exact duplicates", pages=pages, rejected=same),
        FunnelStep(step="near duplicates", pages=pages - same, rejected=near),
    )
