"""A workspace with tiny adapters, served over a real socket, for the tests of the server."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import torch
from openai import OpenAI

import copydesk
from copydesk.app.api import Front, Limits, Service, open_ports
from copydesk.app.api._run import serve
from copydesk.desk import Roster, Workspace
from copydesk.models import BaseStore, find_method, load_base
from copydesk.records import Engine
from copydesk.registry import Version, add_version
from copydesk.store import Artifact, Catalogue

CPU = torch.device("cpu")
METHODS = frozenset({"lora"})


@dataclass
class Served:
    """A running server and what stands behind it."""

    url: str
    admin_url: str
    service: Service
    engine: Engine
    ending: threading.Event
    closing: contextlib.ExitStack

    def client(self, key: str = "none", **more: object) -> OpenAI:
        """The official client, pointed here."""
        given = {"max_retries": 0, "timeout": 60.0} | more
        made = OpenAI(base_url=f"{self.url}/v1", api_key=key, **given)  # type: ignore[arg-type]
        return self.closing.enter_context(made)

    def post(self, path: str, body: object, **headers: str) -> httpx2.Response:
        return httpx2.post(self.url + path, json=body, headers=headers, timeout=60.0)


def make_version(workspace: Workspace, client: str, base: Path, seed: int) -> Version:
    """A version with a random adapter, strong enough to say something of its own."""
    info = BaseStore(base.parent / "cache").find(str(base))
    method = find_method("lora")
    tuned = method.prepare(
        load_base(info, device=CPU, dtype=torch.float32), method.settings(lora_r=4), 0
    )
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.3)

    def fill(artifact: Artifact) -> None:
        method.save(tuned, artifact.path)
        artifact.facts.update(method="lora", settings={"lora_r": 4}, dtype="float32")

    return add_version(workspace.catalogue, client, {"base": info.digest}, fill)


def make_workspace(root: Path, base: Path, clients: tuple[str, ...]) -> Workspace:
    workspace = copydesk.init(root)
    (root / "copydesk.toml").write_text(f'base = "{base}"\n')
    for number, client in enumerate(clients):
        workspace.add_client(client)
        make_version(workspace, client, base, seed=number)
    return workspace


@contextlib.contextmanager
def serving(
    root: Path,
    engine: Engine,
    digest: str,
    *,
    limits: Limits | None = None,
    drain_seconds: float = 2.0,
    log_text: bool = False,
) -> Iterator[Served]:
    """Serve the workspace at `root` for the length of the block."""
    ready, ending = threading.Event(), threading.Event()
    front = Front(
        lambda: Catalogue(root),
        lambda catalogue: Roster(
            catalogue=catalogue, base_name="tiny", base_digest=digest, methods=METHODS
        ),
    )
    service = Service(
        engine=engine,
        front=front,
        base_digest=digest,
        root=root,
        limits=limits or Limits(),
        log_text=log_text,
    )
    ports = open_ports("127.0.0.1", 0, 0, has_keys=False)
    url, admin_url = ports.url, ports.admin_url

    async def run() -> None:
        over = asyncio.Event()

        async def watch() -> None:
            while not ending.is_set():
                await asyncio.sleep(0.01)
            over.set()

        watching = asyncio.ensure_future(watch())
        await serve(service, ports, drain_seconds=drain_seconds, on_ready=ready.set, ending=over)
        watching.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(10)
        with contextlib.ExitStack() as closing:
            yield Served(url, admin_url, service, engine, ending, closing)
    finally:
        ending.set()
        thread.join()
