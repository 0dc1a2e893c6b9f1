"""How long does it take to find the version that speaks for a client, and is any promotion lost?

    python benchmarks/registry_lookup.py [--clients 10000] [--versions 20] [--promotions 10000]
        [--processes 8]

A catalogue of so many clients and versions is made; half of the clients have promoted one. Look-ups
of `--lookups` clients, evenly spread, are timed: with reading the version's manifest and checking
its signature (`first`), once more, when it is known (`live`), and of the row alone (`row`). `rival`
lists the client's versions and takes the last, as was done before.

Then so many processes promote versions of few clients by turns, and look up what speaks after each.
A promotion is lost where the history has fewer rows than were reported, or a row does not start
from where the one before it ended, or what speaks is not the last row's. A look-up is torn where
the manifest is not that of the version that it names.
"""

import argparse
import datetime
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _case import emit, versions

from copydesk.errors import AlreadyThere
from copydesk.registry import (
    Standard,
    find_version,
    history,
    live_version,
    promote,
    promoted_number,
)
from copydesk.registry import versions as versions_of
from copydesk.store import Catalogue, Manifest

STANDARD = Standard(thresholds="t", base="b")
CONTENDED = 40
"""Clients whose versions are promoted by all processes."""
CHOICES = 4
"""Their versions that are promoted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--promotions", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--lookups", type=int, default=2_000)
    parser.add_argument("--part", nargs=2, metavar=("ROOT", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        contend(Path(options.part[0]), int(options.part[1]), options.promotions)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        catalogue = Catalogue(root)
        step = max(1, options.clients // options.lookups)
        asked = [number for number in range(options.clients) if number % step in (0, 1)]
        asked = asked[: options.lookups]
        made = seconds(lambda: build(catalogue, options.clients, options.versions, asked))
        print(f"built in {made:.0f} s", file=sys.stderr, flush=True)
        names = [client(number) for number in asked]
        random.Random(0).shuffle(names)
        first = timed(names, lambda name: live_version(catalogue, name))
        live = timed(names, lambda name: live_version(catalogue, name))
        row = timed(names, lambda name: promoted_number(catalogue, name))
        few = [client(number) for number in range(CONTENDED)]
        listed = timed(few, lambda name: versions_of(catalogue, name)[-1])
        done = together(root, options)
        lost, torn = faults(catalogue, done)
        emit(
            {
                "benchmark": "registry-lookup",
                "versions": versions("copydesk"),
                "clients": options.clients,
                "versions_each": options.versions,
                "database_bytes": (root / "copydesk.db").stat().st_size,
                "ours": {"first": first, "live": live, "row": row},
                "rival": {"name": "list a client's versions, take the last", **listed},
                "ratio": round(listed["median_ms"] / live["median_ms"], 1),
                "together": {
                    "processes": options.processes,
                    "promotions": sum(one["promoted"] for one in done),
                    "refused_as_already_live": sum(one["refused"] for one in done),
                    "lookups": sum(one["lookups"] for one in done),
                    "seconds": round(max(one["seconds"] for one in done), 1),
                    "lookup_p99_ms": round(max(one["p99_ms"] for one in done), 3),
                    "lost": lost,
                    "torn": torn,
                },
            }
        )
        catalogue.close()
    if lost or torn:
        sys.exit("A promotion was lost or a look-up was torn.")


def client(number: int) -> str:
    return f"client-{number:06}"


def build(catalogue: Catalogue, clients: int, count: int, asked: list[int]) -> None:
    """All rows in one transaction; signed manifests of the versions that are looked up."""
    wanted = {*asked, *range(CONTENDED)}
    now = datetime.datetime.now(datetime.UTC).isoformat()
    with catalogue.writing() as db:
        for number in range(clients):
            name = client(number)
            db.execute("INSERT INTO clients VALUES (?, ?)", (name, now))
            db.executemany(
                "INSERT INTO artifacts VALUES ('versions', ?, ?, ?, ?, ?)",
                [(name, n, place(name, n), digest(name, n), now) for n in range(1, count + 1)],
            )
            if number % 2:
                db.execute("INSERT INTO live VALUES (?, ?)", (name, count - 1))
            speaking = [count - number % 2] if number in wanted else []
            for n in range(1, count + 1) if number < CONTENDED else speaking:
                folder = catalogue.root / place(name, n)
                write_manifest(folder, name, n)
                catalogue.keys.seal(folder, place=folder)


def place(name: str, number: int) -> str:
    return f"artifacts/versions/{name}/{number}"


def manifest(name: str, number: int) -> Manifest:
    settings = {"lora_r": 16, "learning_rate": 0.002, "max_length": 1024}
    return Manifest(
        kind="versions",
        created="2026-01-01T00:00:00+00:00",
        inputs={"base": "b", "name": f"{name}@{number}"},
        facts={"method": "lora", "settings": settings},
        files={"adapter_model.safetensors": "0" * 64, "adapter_config.json": "1" * 64},
    )


def digest(name: str, number: int) -> str:
    return manifest(name, number).digest


def write_manifest(folder: Path, name: str, number: int) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(asdict(manifest(name, number))))


def seconds(run: Any) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def timed(names: list[str], look_up: Any) -> dict[str, float]:
    """Median, 99th percentile and longest of one look-up, in milliseconds."""
    took = np.array([1000 * seconds(lambda name=name: look_up(name)) for name in names])
    return {
        "median_ms": round(float(np.median(took)), 4),
        "p99_ms": round(float(np.percentile(took, 99)), 4),
        "longest_ms": round(float(took.max()), 3),
    }


def together(root: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What each process reports."""
    each = options.promotions // options.processes
    parts = [
        subprocess.Popen(
            [sys.executable, __file__, "--part", str(root), str(seed), "--promotions", str(each)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(options.processes)
    ]
    told = [part.communicate()[0] for part in parts]
    if any(part.returncode for part in parts):
        sys.exit("A process failed.")
    return [json.loads(text.strip().splitlines()[-1]) for text in told]


def contend(root: Path, seed: int, promotions: int) -> None:
    """Promote until so many were, and look up what speaks after each."""
    catalogue, draw = Catalogue(root), random.Random(seed)
    promoted = refused = torn = 0
    took: list[float] = []
    started = time.perf_counter()
    while promoted < promotions:
        name = client(draw.randrange(CONTENDED))
        number = draw.randrange(1, CHOICES + 1)
        version = find_version(catalogue, f"{name}@{number}")
        try:
            promote(catalogue, version, STANDARD, by=str(seed), force_reason="benchmark")
            promoted += 1
        except AlreadyThere:
            refused += 1
        begun = time.perf_counter()
        found = live_version(catalogue, client(draw.randrange(CONTENDED)))
        took.append(1000 * (time.perf_counter() - begun))
        torn += found.inputs["name"] != found.name or found.digest != digest(
            found.client, found.number
        )
    report = {
        "promoted": promoted,
        "refused": refused,
        "lookups": len(took),
        "torn": torn,
        "seconds": time.perf_counter() - started,
        "p99_ms": float(np.percentile(took, 99)),
    }
    print(json.dumps(report), flush=True)


def faults(catalogue: Catalogue, done: list[dict[str, Any]]) -> tuple[int, int]:
    """(promotions that were lost, look-ups that were torn)."""
    lost = sum(one["promoted"] for one in done)
    for number in range(CONTENDED):
        name = client(number)
        entries = history(catalogue, name)
        lost -= len(entries)
        for before, after in itertools.pairwise(entries):
            lost += after.previous != before.number
        if entries:
            lost += live_version(catalogue, name).number != entries[-1].number
    return lost, sum(one["torn"] for one in done)


if __name__ == "__main__":
    main()
