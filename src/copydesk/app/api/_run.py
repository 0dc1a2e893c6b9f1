"""Two servers in one process, public and admin, from their sockets to the last answer."""

import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from copydesk.app.api._admin import build_admin
from copydesk.app.api._connections import HastyProtocol
from copydesk.app.api._front import Front
from copydesk.app.api._gate import App
from copydesk.app.api._limits import Limits
from copydesk.app.api._routes import build_api
from copydesk.app.api._service import Service
from copydesk.app.api._visits import say
from copydesk.desk import Serving
from copydesk.errors import InUse, InvalidInput
from copydesk.store import Catalogue

_BACKLOG = 2048
_MOST_CONNECTIONS = 900
"""Files that a process may have open are often 1,024; one more is answered 503 and closed."""
_LAST_WORDS_SECONDS = 10.0
"""For answers to be sent after the engine has ended them."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A socket that nobody can connect to yet; port 0 is any that is free.

    Raises:
        InUse: something else listens there.
        InvalidInput: this machine has no such address, or may not listen there.
    """
    try:
        kind = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(kind, socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidInput(f"{host} cannot be listened on: {error}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise InUse(
                f"Something listens on {host}:{port} already", todo="Choose another --port."
            ) from error
        raise InvalidInput(
            f"{host}:{port} cannot be listened on: {error}", todo="Choose another --host or --port."
        ) from error
    return made


def _url(made: socket.socket) -> str:
    """`http://host:port` of a socket."""
    host, port = made.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where both servers will listen."""

    public: socket.socket
    admin: socket.socket
    has_keys: bool = False
    """Whether keys were needed when they were opened."""

    @property
    def url(self) -> str:
        """Of the public server."""
        return _url(self.public)

    @property
    def admin_url(self) -> str:
        """Of the admin server."""
        return _url(self.admin)


def open_ports(host: str, port: int, admin_port: int, *, has_keys: bool) -> Ports:
    """Bind both ports, the admin one always to this machine alone; nobody is heard yet.

    Raises:
        InvalidInput: others could reach the server and no key was ever made, or there is no such
            address here.
        InUse: something else listens there.
    """
    if not has_keys and not is_loopback(host):
        raise InvalidInput(
            f"Without keys the server answers this machine alone, not {host}",
            todo="Make one with: copydesk key add --client NAME",
        )
    public = bind(host, port)
    try:
        return Ports(public=public, admin=bind("127.0.0.1", admin_port), has_keys=has_keys)
    except BaseException:
        public.close()
        raise


def run_server(
    serving: Serving,
    root: Path,
    ports: Ports,
    *,
    limits: Limits,
    drain_seconds: float,
    log_text: bool,
    on_ready: Callable[[], None],
) -> None:
    """Serve a workspace until SIGTERM or SIGINT, then drain. The engine is stopped at the end."""

    async def run() -> None:
        service = Service(
            engine=serving.engine,
            front=Front(lambda: Catalogue(root), serving.roster),
            base_digest=serving.base_digest,
            root=root,
            limits=limits,
            log_text=log_text,
        )
        await serve(service, ports, drain_seconds=drain_seconds, on_ready=on_ready)

    asyncio.run(run())


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals, which two servers would do twice."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(
    service: Service,
    ports: Ports,
    *,
    drain_seconds: float,
    on_ready: Callable[[], None],
    ending: asyncio.Event | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT, or until `ending` is set; then drain.

    While it drains both ports answer: `/health/ready` says 503, new work is refused with 503, and
    what runs may finish. A second signal cuts that short.
    """
    ending = ending or asyncio.Event()
    hurry = asyncio.Event()
    with _signals(lambda: hurry.set() if ending.is_set() else ending.set()):
        servers = [
            _server(build_api(service), ports.public),
            _server(build_admin(service), ports.admin),
        ]
        running = [asyncio.ensure_future(work) for _, work in servers]
        counting = asyncio.ensure_future(service.keep_counting())
        while not all(server.started for server, _ in servers):
            await asyncio.sleep(0.01)
            if any(task.done() for task in running):
                break
        else:
            on_ready()
            waiting = asyncio.ensure_future(ending.wait())
            await asyncio.wait((waiting, *running), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        await _drain(service, drain_seconds, hurry)
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*running)
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
        await asyncio.to_thread(service.drafters.close)
        await asyncio.to_thread(service.inspector.close)
        service.front.close()
        say("stopped")


async def _drain(service: Service, seconds: float, hurry: asyncio.Event) -> None:
    service.draining = True
    say("draining", seconds=seconds, running=len([v for v in service.visits.values() if v.route]))
    draining = asyncio.ensure_future(asyncio.to_thread(service.engine.stop, seconds))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        for visit in list(service.visits.values()):
            if visit.cancel is not None:
                visit.cancel()
    hurried.cancel()
    await draining


def _server(app: App, made: socket.socket) -> tuple[_Server, Awaitable[None]]:
    config = uvicorn.Config(
        app,
        http=HastyProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(_LAST_WORDS_SECONDS),
        backlog=_BACKLOG,
        limit_concurrency=_MOST_CONNECTIONS,
    )
    server = _Server(config)
    return server, server.serve(sockets=[made])


@contextlib.contextmanager
def _signals(handle: Callable[[], object]) -> Generator[None]:
    """Call `handle` on the loop for SIGTERM and SIGINT; outside the main thread there are none."""
    loop = asyncio.get_running_loop()
    set_up: list[signal.Signals] = []
    try:
        for number in _SIGNALS:
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, handle)
                set_up.append(number)
        yield
    finally:
        for number in set_up:
            loop.remove_signal_handler(number)
