"""What the benchmarks share: the texts, the machine's description, the JSON line."""

import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BRANDS = ROOT.parent / "shared" / "brands"
SAMPLES = ROOT / "src" / "copydesk" / "samples"


def posts(brand: str, fallback: str) -> tuple[str, list[dict[str, Any]]]:
    """(name, posts) of a real brand, or of a sample brand where the real one is absent."""
    name, file = brand, BRANDS / brand / "posts.jsonl"
    if not file.is_file():
        name, file = fallback, SAMPLES / fallback / "posts.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    return name, [json.loads(line) for line in lines]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
            if line.startswith("flags"):
                flags = line
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "vector": [flag for flag in known if f" {flag} " in f"{flags} "],
    }


def versions(*names: str) -> dict[str, str]:
    """Installed versions, python first."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def emit(line: dict[str, Any]) -> None:
    """Print a benchmark's line and keep it as the latest of its name."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    line = {"benchmark": line["benchmark"], "date": today, "machine": machine(), **line}
    text = json.dumps(line)
    print(text, flush=True)
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / f"{line['benchmark']}.json").write_text(json.dumps(line, indent=1) + "\n")


def need(package: str) -> None:
    """Install the bench extra when a rival is missing."""
    if versions(package)[package] == "absent":
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--editable"]
        pinned = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([*install, f"{ROOT}[bench]", *pinned], check=True, stdout=sys.stderr)


def run_child(arguments: list[str]) -> dict[str, Any]:
    """Run a benchmark script's own part in a fresh process; its last line is JSON."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # As the command line sets them; for the rival too.
        "THP_MEM_ALLOC_ENABLE": "1",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
        "LRU_CACHE_CAPACITY": "16",
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
