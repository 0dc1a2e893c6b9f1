"""Cleaning and deduplication of a large corpus: pages a second, peak memory, and whether it is
linear. `--sizes 10000,50000,100000` takes about 4 GB of disk; the corpus is removed afterwards.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psutil
from _case import emit, versions
from _synthetic import write

from copydesk.corpus import CurateSettings, clean_corpus, in_processes


class Peak:
    """The most memory that this process and its children hold together, seen ten times a second.

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
        while not self._ended.wait(0.1):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)


def measure(folder: Path, count: int, workers: int, size: int) -> dict[str, object]:
    """One corpus of `count` pages through `clean_corpus`."""
    corpus, out, work = folder / "corpus.jsonl", folder / "out", folder / "work"
    read = write(corpus, count, size=size)
    out.mkdir()
    started, worked = time.perf_counter(), _processor_seconds()
    with Peak() as peak:
        result = clean_corpus(
            [corpus],
            out,
            client="corpus",
            work=work,
            settings=CurateSettings(heldout_share=0.01, contacts="scrub"),
            mapper=in_processes(workers),
        )
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    shutil.rmtree(work)
    corpus.unlink()
    return {
        "documents": count,
        "bytes": read,
        "seconds": round(seconds, 2),
        "processor_seconds": round(_processor_seconds() - worked, 2),
        "documents_per_second": round(count / seconds, 1),
        "peak_memory_bytes": peak.bytes,
        "kept": result.train + result.heldout,
        "rejected": result.rejected,
        "digest": result.digest,
    }


def _processor_seconds() -> float:
    """Of this process and its ended children: what the work took, whoever else was at work."""
    return sum(os.times()[:4])


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,50000,100000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--characters", type=int, default=20_000, help="of a page")
    parser.add_argument("--folder", type=Path, default=None, help="where the corpus is made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        runs = [
            measure(Path(folder), int(count), given.workers, given.characters)
            for count in given.sizes.split(",")
        ]
    first, last = runs[0], runs[-1]
    emit(
        {
            "benchmark": "clean-scale",
            "versions": versions("numpy", "py3langid"),
            "workers": given.workers,
            "ours": {
                "documents_per_second": last["documents_per_second"],
                "peak_memory_bytes": last["peak_memory_bytes"],
            },
            "seconds_a_document_last_over_first": round(
                first["documents_per_second"] / last["documents_per_second"], 3
            ),
            "runs": runs,
        }
    )


if __name__ == "__main__":
    main()
