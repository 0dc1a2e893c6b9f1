"""`copydesk serve` and `copydesk key` as processes of their own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from openai import AuthenticationError, OpenAI

import copydesk
from copydesk.app.cli import main
from copydesk.models import BaseStore, find_method, load_base
from copydesk.registry import add_version
from copydesk.store import Artifact

COMMAND = Path(sys.executable).with_name("copydesk")
ASK = [{"role": "user", "content": "Say something"}]


@pytest.fixture(scope="module")
def root(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "agency"
    with copydesk.init(folder):
        pass
    (folder / "copydesk.toml").write_text(f'base = "{tiny_base}"\n')
    info = BaseStore(tiny_base.parent / "cache").find(str(tiny_base))
    method = find_method("lora")
    base = load_base(info, device=torch.device("cpu"), dtype=torch.float32)
    tuned = method.prepare(base, method.settings(lora_r=2), 0)

    def fill(artifact: Artifact) -> None:
        method.save(tuned, artifact.path)
        artifact.facts.update(method="lora", settings={}, dtype="float32")

    with copydesk.open(folder) as workspace:
        workspace.add_client("acme")
        add_version(workspace.catalogue, "acme", {"base": info.digest}, fill)
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


@contextlib.contextmanager
def served(root: Path, *more: str) -> Iterator[tuple[dict[str, Any], "subprocess.Popen[str]"]]:
    """(what it said of itself, the process)."""
    line = [COMMAND, "serve", "--port", "0", "--json", "--workspace", root, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = ""
        try:
            while not said.endswith("}\n"):
                got = process.stdout.readline()
                assert got, process.stderr.read() if process.stderr else ""
                said += got
            yield json.loads(said), process
        finally:
            if process.poll() is None:
                process.kill()


def test_a_server_from_a_key_to_its_end(root: Path) -> None:
    made = run("key", "add", "--client", "acme", "--rate", "100", "--json", "--workspace", root)
    assert made.returncode == 0, made.stderr
    secret, ident = json.loads(made.stdout)["secret"], json.loads(made.stdout)["key"]["id"]
    listed = run("key", "list", "--workspace", root).stdout
    assert ident in listed and "acme" in listed and secret not in listed
    with served(root) as (where, process):
        assert where["base"] == "tiny" and where["engine"] == "embedded"
        with OpenAI(base_url=f"{where['url']}/v1", api_key=secret, max_retries=0) as client:
            answer = client.chat.completions.create(model="acme", messages=ASK, max_tokens=5)
            assert answer.model == "acme@1"
            form = {"type": "json_schema",
                    "json_schema": {"name": "b", "schema": {"type": "boolean"}}}  # fmt: skip
            said = client.chat.completions.create(
                model="acme", messages=ASK, max_tokens=10, response_format=form
            )
            assert json.loads(said.choices[0].message.content or "") in (True, False)
            assert run("key", "revoke", ident, "--workspace", root).returncode == 0
            with pytest.raises(AuthenticationError):
                client.models.list()
        assert httpx2.get(f"{where['admin_url']}/health/ready").status_code == 200
        assert httpx2.get(f"{where['admin_url']}/metrics").status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    events = [line["event"] for line in lines]
    assert events[:2] == ["starting", "ready"] and events[-2:] == ["draining", "stopped"]
    answered = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in answered] == [200, 200, 401]
    assert answered[0]["key"] == ident and answered[0]["model"] == "acme@1"
    assert "Say something" not in json.dumps(lines)
    with copydesk.open(root) as workspace:  # written at the latest when it ended
        assert workspace.server_keys.get(ident).requests == 2


def test_a_server_whose_keys_were_lost_answers_nobody_and_says_so(
    root: Path, tmp_path: Path
) -> None:
    lost = tmp_path / "lost"
    shutil.copytree(root, lost)
    with copydesk.open(lost) as workspace:
        secret = workspace.server_keys.add(clients=["acme"]).secret
    for file in lost.glob("copydesk.db*"):
        file.unlink()
    assert run("doctor", "--repair", "--workspace", lost).returncode == 0
    with served(lost) as (where, process):
        for headers in ({}, {"authorization": f"Bearer {secret}"}):
            answer = httpx2.get(f"{where['url']}/v1/models", headers=headers)
            assert answer.status_code == 401
        made = run("key", "add", "--client", "acme", "--json", "--workspace", lost)
        headers = {"authorization": f"Bearer {json.loads(made.stdout)['secret']}"}
        assert httpx2.get(f"{where['url']}/v1/models", headers=headers).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        events = [json.loads(line)["event"] for line in process.stderr.read().splitlines()]
    assert events[:3] == ["starting", "no_usable_key", "ready"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    """(exit code, what is said) of a command in this process that ends before it serves."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["serve", *map(str, arguments)])
    return ended.value.code, capsys.readouterr().err.replace("\n", " ")


def test_what_cannot_be_served_is_said_before_anything_is_loaded(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with copydesk.init(tmp_path / "bare") as workspace:
        bare = workspace.root
        workspace.add_client("acme")
    code, said = refused(capsys, "--host", "0.0.0.0", "--port", 0, "--workspace", bare)
    assert code == 2 and "Without keys" in said
    with copydesk.open(bare) as workspace:
        workspace.server_keys.add(clients=["acme"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for place in (("--port", port), ("--port", 0, "--admin-port", port)):
            code, said = refused(capsys, *place, "--workspace", bare)
            assert code == 2 and f"{port} already" in said
    code, said = refused(capsys, "--host", "203.0.113.7", "--port", 0, "--workspace", bare)
    assert code == 2 and "203.0.113.7" in said


@pytest.mark.slow
def test_a_vllm_that_does_not_answer_is_the_machines_fault(root: Path) -> None:
    url = "http://127.0.0.1:9"
    wrong = run("serve", "--engine", "vllm", "--vllm-url", url, "--port", "0", "--workspace", root)
    assert wrong.returncode == 3 and "No vLLM answers" in wrong.stderr


def test_help_shows_three_deployments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    said = capsys.readouterr().out
    assert all(f"  {number}. " in said for number in (1, 2, 3))
    assert "copydesk serve --engine vllm" in said and "copydesk key add" in said
