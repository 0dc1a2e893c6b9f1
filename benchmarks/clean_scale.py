"""Cleaning and deduplication of a large corpus: pages a second, peak memory, whether it is linear,
whether a run that was killed goes on, and whether the outcome depends on the number of workers.

    python benchmarks/clean_scale.py                            10,000, 30,000 and 100,000 pages
    python benchmarks/clean_scale.py --sizes 3000 --folder /var/tmp       a try, in a minute

The last two are tried on the first size: once more with one worker, and once killed with SIGKILL
when a third of its parts were clean. 100,000 pages of 20 kB take about 6 GB of disk while they run.
`rival` is what was asked for.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from _case import emit, versions
from _synthetic import write

from copydesk.corpus import CleanedCorpus, CurateSettings, clean_corpus, in_processes

ASKED = {"documents_per_second": 1500.0, "peak_memory_bytes": 1_500_000_000}


class Peak:
    """The most memory that this process and its children hold together, seen five times a second.

    Proportional set size: pages that processes share are counted once.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(0.2):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)


def run(corpus: Path, folder: Path, workers: int) -> CleanedCorpus:
    """`clean_corpus` with results in `folder`, going on from what lies there."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return clean_corpus(
        [corpus],
        folder / "out",
        client="corpus",
        work=folder / "work",
        settings=CurateSettings(heldout_share=0.01, contacts="scrub"),
        mapper=in_processes(workers),
    )


def measure(corpus: Path, count: int, workers: int) -> dict[str, Any]:
    """One corpus of `count` pages."""
    folder = corpus.parent / "run"
    started, worked = time.perf_counter(), _processor_seconds()
    with Peak() as peak:
        result = run(corpus, folder, workers)
    seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return {
        "documents": count,
        "bytes": corpus.stat().st_size,
        "workers": workers,
        "seconds": round(seconds, 2),
        "processor_seconds": round(_processor_seconds() - worked, 2),
        "documents_per_second": round(count / seconds, 1),
        "peak_memory_bytes": peak.bytes,
        "kept": result.train + result.heldout,
        "rejected": result.rejected,
        "digest": result.digest,
    }


def killed_and_resumed(corpus: Path, workers: int) -> dict[str, Any]:
    """What a run with SIGKILL in its middle comes to, and how many parts it had not to do again."""
    folder = corpus.parent / "killed"
    parts = max(1, corpus.stat().st_size // (16 * 1024 * 1024))
    command = [sys.executable, __file__, "--only", str(corpus), str(folder), str(workers)]
    with subprocess.Popen(command) as child:
        while child.poll() is None and len(_cleaned(folder)) < max(1, parts // 3):
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    before = _cleaned(folder)
    result = run(corpus, folder, workers)
    after = _cleaned(folder)
    shutil.rmtree(folder)
    return {
        "killed": child.returncode == -signal.SIGKILL,
        "parts": len(after),
        "parts_done_before": len(before),
        "done_again": sum(after[name] != written for name, written in before.items()),
        "digest": result.digest,
    }


def _cleaned(folder: Path) -> dict[str, int]:
    """Parts that are clean, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("work/*clean.json")}


def _processor_seconds() -> float:
    """Of this process and its ended children: what the work took, whoever else was at work."""
    return sum(os.times()[:4])


def say(what: object) -> None:
    """Progress, on standard error."""
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="10000,30000,100000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--characters", type=int, default=20_000, help="of a page")
    parser.add_argument("--folder", type=Path, default=None, help="where the corpus is made")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        run(Path(given.only[0]), Path(given.only[1]), int(given.only[2]))
        return
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        corpus = Path(folder) / "corpus.jsonl"
        for count in map(int, given.sizes.split(",")):
            write(corpus, count, size=given.characters)
            runs.append(measure(corpus, count, given.workers))
            say(runs[-1])
            if len(runs) == 1:
                alone = measure(corpus, count, 1)
                say(alone)
                resumed = killed_and_resumed(corpus, given.workers)
                say(resumed)
    first, last = runs[0], runs[-1]
    rate, peak = last["documents_per_second"], max(one["peak_memory_bytes"] for one in runs)
    emit(
        {
            "benchmark": "clean-scale",
            "versions": versions("numpy", "py3langid"),
            "workers": given.workers,
            "ours": {"documents_per_second": rate, "peak_memory_bytes": peak},
            "rival": ASKED,
            "ratio": round(rate / ASKED["documents_per_second"], 3),
            "seconds_a_document_last_over_first": round(
                first["documents_per_second"] / last["documents_per_second"], 3
            ),
            "same_digest_with_one_worker": alone["digest"] == first["digest"],
            "same_digest_after_a_kill": resumed["digest"] == first["digest"],
            "one_worker": alone,
            "killed": resumed,
            "runs": runs,
        }
    )


if __name__ == "__main__":
    main()
