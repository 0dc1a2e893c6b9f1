"""A vLLM of our own: started, waited for, ended."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from copydesk.errors import InvalidInput, Unreachable

OWN_MODEL = "base"
"""What a vLLM of ours calls the base."""
_LOOK_SECONDS = 0.5
_END_SECONDS = 15.0
_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmProcess:
    """A vLLM that this program started."""

    url: str
    api_key: str
    """Drawn for it: nothing else on this machine may use it."""
    process: "subprocess.Popen[bytes]"
    log: Path

    def end(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_END_SECONDS)
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def find_vllm() -> str:
    """The `vllm` command.

    Raises:
        InvalidInput: there is none here.
    """
    found = shutil.which("vllm")
    if found is None:
        raise InvalidInput(
            "There is no vllm command here",
            todo="Install vLLM, or name one that runs with --vllm-url.",
        )
    return found


def start_vllm(
    command: str,
    base: Path,
    *,
    log: Path,
    max_adapters: int,
    max_lora_rank: int = 64,
    arguments: Sequence[str] = (),
    seconds: float = 900.0,
) -> VllmProcess:
    """Start vLLM on a base, with adapters to be loaded as they are asked for, and wait for it.

    Args:
        command: the `vllm` executable.
        base: the base's folder.
        log: where what it says goes.
        max_adapters: that it holds.
        max_lora_rank: of an adapter.
        arguments: more of its own, put last.
        seconds: how long it may take.

    Raises:
        Unreachable: it ended, or was not ready in time; its last words are in the message.
    """
    port, key = _free_port(), secrets.token_hex(32)
    together = min(max_adapters, 16)
    line = [
        *(command, "serve", str(base), "--served-model-name", OWN_MODEL),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--enable-lora", "--max-loras", str(together), "--max-cpu-loras", str(max_adapters)),
        *("--max-lora-rank", str(max_lora_rank), "--enable-prompt-tokens-details"),
        *arguments,
    ]
    environment = {
        **os.environ,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_API_KEY": key,  # not on the command line, where every user of the machine sees it
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment,
            start_new_session=True,
        )  # fmt: skip
    started = VllmProcess(url=f"http://127.0.0.1:{port}", api_key=key, process=process, log=log)
    try:
        _wait_for(started, seconds)
    except BaseException:
        started.end()
        raise
    return started


def _wait_for(started: VllmProcess, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if started.process.poll() is not None:
            raise Unreachable(
                f"vLLM ended with {started.process.returncode}: {_tail(started.log)}",
                where=str(started.log),
            )
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(f"{started.url}/health", timeout=2.0, trust_env=False).is_success:
                return
        time.sleep(_LOOK_SECONDS)
    raise Unreachable(f"vLLM was not ready within {seconds:.0f} seconds", where=str(started.log))


def _tail(log: Path) -> str:
    return log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
