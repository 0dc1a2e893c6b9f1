"""A small run of the isolation benchmark: no answer is crossed, whatever happens beside it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_no_answer_is_crossed_while_versions_churn() -> None:
    line = ["benchmarks/isolation.py", "--requests", "600", "--clients", "6", "--threads", "8"]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *line, "--keep"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    ours = json.loads(done.stdout.splitlines()[-1])["ours"]
    assert (ours["crossed"], ours["changed"], ours["wrong"]) == (0, 0, [])
    counts = ours["counts"]
    for what in ("right", "probed", "hung up", "poisoned 503", "promoted", "rolled back", "added"):
        assert counts[what] > 0, what
    assert ours["engine"]["adapter_evictions_total"] > 0
