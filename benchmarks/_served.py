"""A `copydesk serve` of a benchmark's own, as a process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _case import ROOT

_RUN = "import sys; from copydesk.app.cli import main; main(sys.argv[1:])"


@contextlib.contextmanager
def copydesk_serve(workspace: Path, *more: str, log: Path) -> Iterator[dict[str, Any]]:
    """What the server says of itself: `url`, `admin_url`, `base`; and `pid`.

    Args:
        workspace: to be served, on ports that are free.
        more: further arguments of the command.
        log: where its log goes.
    """
    line = [sys.executable, "-c", _RUN, "serve", "--port", "0", "--json"]
    line += ["--workspace", str(workspace), *more]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    with log.open("w") as said:
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=said, text=True,
            env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    try:
        yield _told(process, log) | {"pid": process.pid}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _told(process: "subprocess.Popen[str]", log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    said = ""
    while not said.endswith("}\n"):
        got = process.stdout.readline()
        if not got:
            sys.exit(f"the server did not start:\n{log.read_text()[-3000:]}")
        said += got
    return json.loads(said)
