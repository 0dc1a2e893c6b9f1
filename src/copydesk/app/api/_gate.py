"""What every request passes before its route: its id, its key, its size; and the log behind it."""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from copydesk.app.api._problems import Problem, problem_of
from copydesk.app.api._service import Service
from copydesk.app.api._visits import GONE, Visit, request_id, say
from copydesk.errors import CopydeskError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_MOST_HEADERS = 100


class Gone(Exception):
    """Whoever asked is not there any more."""


def broken() -> Problem:
    """The answer where we are at fault."""
    return Problem(status=500, message="The server failed; its log says why")


class Gate:
    """The outermost layer of the public and of the admin server."""

    def __init__(self, app: App, service: Service, *, admin: bool = False) -> None:
        self._app = app
        self._service = service
        self._admin = admin

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        visit = Visit(
            request_id=request_id(given), method=scope["method"], path=scope["path"][:200]
        )
        scope.setdefault("state", {})["visit"] = visit
        own_id = (b"x-request-id", visit.request_id.encode())

        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.started, visit.status = True, message["status"]
                message["headers"] = [*message.get("headers", ()), own_id]
            elif not message.get("more_body"):
                visit.ended = True
            await send(message)

        self._service.visits[id(visit)] = visit
        try:
            await self._pass(scope, headers, receive, send_signed, visit)
        finally:
            del self._service.visits[id(visit)]
            if not self._admin and not visit.path.startswith("/health/"):
                self._service.metrics.count(visit)
                level = logging.WARNING if visit.status >= 500 else logging.INFO
                say("request", level=level, **visit.facts())

    async def _pass(
        self,
        scope: MutableMapping[str, Any],
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        visit: Visit,
    ) -> None:
        try:
            await self._check(headers, visit)
            body = await self._body(headers, receive)
            await self._app(scope, _replayed(body, receive), send)
        except Gone:
            visit.status = GONE
        except Problem as problem:
            visit.problem = problem.message
            await problem.response()(scope, receive, send)
        except CopydeskError as error:
            visit.problem = str(error)
            await problem_of(error).response()(scope, receive, send)
        except Exception:
            visit.problem = "a fault in Copydesk"
            logging.getLogger("copydesk.serve").exception("fault", extra={"facts": visit.facts()})
            if not visit.started:
                await broken().response()(scope, receive, send)
            elif not visit.ended:
                raise  # the connection is closed: half an answer must not look like a whole one

    async def _check(self, headers: dict[bytes, bytes], visit: Visit) -> None:
        """Raise a `Problem` unless the request may go on."""
        if len(headers) > _MOST_HEADERS:
            raise Problem(status=431, message="There are too many headers")
        if visit.path.startswith("/health/") or visit.path == "/openapi.json":
            return
        secret = _bearer(headers.get(b"authorization", b""))
        visit.key, needed = await self._service.front.find_key(secret)
        if needed and visit.key is None:
            raise Problem(
                status=401,
                message="No key was given, or it is wrong or revoked",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        if self._admin and visit.key is not None and not visit.key.admin:
            raise Problem(status=403, message="The key is not one for the admin port")
        if not needed and not _names_this_machine(headers.get(b"host", b"")):
            # Without keys anything on this machine may ask; a page in a browser that points a
            # name of its own at 127.0.0.1 may not.
            raise Problem(
                status=403, message="Without keys, only this machine's names are answered"
            )

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body.

        Raises:
            Problem: it is too long, or takes too long.
            Gone: its sender went away.
        """
        most = self._service.limits.body_bytes
        too_long = Problem(status=413, message=f"The body has over {most} bytes")
        stated = headers.get(b"content-length", b"0")
        if stated.isdigit() and (len(stated) > 12 or int(stated) > most):
            raise too_long
        try:
            async with asyncio.timeout(self._service.limits.body_seconds):
                return b"".join([part async for part in _parts(receive, most, too_long)])
        except TimeoutError as error:
            raise Problem(status=408, message="The body did not come in time") from error


async def _parts(receive: Receive, most: int, too_long: Problem) -> AsyncIterator[bytes]:
    taken = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        taken += len(part)
        if taken > most:
            raise too_long
        yield part
        if not message.get("more_body"):
            return


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever comes: that the sender went away."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _bearer(header: bytes) -> str | None:
    scheme, _, secret = header.decode("latin-1").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
