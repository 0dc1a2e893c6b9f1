"""One request: to a checked address, within limits of time and bytes, with every failure named."""

import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final

import anyio
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from copydesk.corpus._fields import UnfitError
from copydesk.corpus._unpack import Unpacker
from copydesk.corpus.web._addresses import addresses_of
from copydesk.corpus.web._settings import LONGEST_URL, WebSettings, user_agent

_ACCEPT: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.5"
_CONNECT_SECONDS: Final = 10.0
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered to one request."""

    url: str
    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a header that came twice, one value a line."""
    content: bytes
    """Unpacked."""


class Fetcher:
    """Asks servers, one connection a host. Use it in a `with`.

    Neither cookies nor redirects are followed, and nothing is logged. Proxies that the environment
    names are not used: behind one the address that is connected to cannot be checked.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._transports: dict[tuple[str, str, int], httpx2.AsyncHTTPTransport] = {}

    def __enter__(self) -> "Fetcher":
        # A loop in a thread of its own, so that callers may have one running (notebooks do).
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal())
        self._verify = httpx2.create_ssl_context()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._portal.call(self._close)
        self._stack.close()

    def get(self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for an address. Any status is an answer.

        Args:
            url: `http` or `https`.
            max_bytes: most bytes of the content, unpacked.
            headers: besides those that say who asks and for what.

        Raises:
            UnfitError: there is no answer within the limits; its rule says why: `bad-url`,
                `private-address`, `unreachable`, `certificate`, `timeout`, `too-large`,
                `gzip-bomb`, `bad-gzip`, `bad-encoding` or `bad-http`.
        """
        return self._portal.call(partial(self._get, url, max_bytes, dict(headers or {})))

    async def _close(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    async def _get(self, url: str, max_bytes: int, headers: Mapping[str, str]) -> Answer:
        parsed = parse_url(url)
        seconds = self._settings.timeout_seconds
        try:
            with anyio.fail_after(seconds):
                return await self._ask(parsed, max_bytes, headers)
        except (TimeoutError, httpx2.TimeoutException):
            raise UnfitError("timeout", f"There was no full answer in {seconds:g} s.") from None
        except (httpx2.ProtocolError, httpx2.DecodingError) as error:
            raise UnfitError("bad-http", f"The answer is not HTTP: {error}.") from None
        except httpx2.HTTPError as error:
            raise _connection_problem(parsed, error) from None

    async def _ask(self, url: httpx2.URL, max_bytes: int, headers: Mapping[str, str]) -> Answer:
        port = url.port or _PORTS[url.scheme]
        host = url.raw_host.decode("ascii")
        addresses = await addresses_of(host, port, allow_private=self._settings.allow_private)
        for address in addresses[:-1]:
            try:
                return await self._ask_at(url, address, max_bytes, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                if _certificate_problem(error):
                    raise
        return await self._ask_at(url, addresses[-1], max_bytes, headers)

    async def _ask_at(
        self, url: httpx2.URL, address: str, max_bytes: int, headers: Mapping[str, str]
    ) -> Answer:
        """Ask `address`, by the host's name: in `Host`, and in the certificate."""
        timeout = dict.fromkeys(("read", "write", "pool"), self._settings.timeout_seconds)
        request = httpx2.Request(
            "GET",
            url.copy_with(host=address, fragment=None),
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": user_agent(),
                "Accept": _ACCEPT,
                "Accept-Encoding": "gzip",
                **headers,
            },
            extensions={
                "sni_hostname": url.raw_host.decode("ascii"),
                "timeout": {**timeout, "connect": _CONNECT_SECONDS},
            },
        )
        response = await self._transport(url).handle_async_request(request)
        try:
            content = await _content(response, max_bytes)
        finally:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 1):
                await response.aclose()
        named: dict[str, str] = {}
        for name, value in response.headers.multi_items():
            key = name.lower()
            named[key] = f"{named[key]}\n{value}" if key in named else value
        return Answer(url=str(url), status=response.status_code, headers=named, content=content)

    def _transport(self, url: httpx2.URL) -> httpx2.AsyncHTTPTransport:
        """One a host: connections are pooled by address, and hosts may share one."""
        key = (url.scheme, url.host, url.port or _PORTS[url.scheme])
        if key not in self._transports:
            self._transports[key] = httpx2.AsyncHTTPTransport(
                verify=self._verify,
                http2=True,
                limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1),
            )
        return self._transports[key]


def parse_url(url: str) -> httpx2.URL:
    """An address that may be asked.

    Raises:
        UnfitError: it is not one of the web, is too long, or holds a user's name or password.
    """
    if len(url) > LONGEST_URL:
        raise UnfitError("bad-url", f"The address has over {LONGEST_URL:,} characters.")
    try:
        parsed = httpx2.URL(url)
        port = parsed.port
    except (httpx2.InvalidURL, ValueError, UnicodeError) as error:
        raise UnfitError("bad-url", f"It is not an address: {error}.") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise UnfitError("bad-url", "It is not an address of http or https.")
    if port is not None and not 0 < port < 65536:
        raise UnfitError("bad-url", f"There is no port {port}.")
    if parsed.userinfo:
        raise UnfitError("bad-url", "The address holds a user's name or password.")
    return parsed


async def _content(response: httpx2.Response, max_bytes: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "x-gzip", "identity", ""):
        raise UnfitError("bad-encoding", f"It is packed as {encoding[:40]!r}; gzip was asked for.")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise UnfitError("too-large", f"It has more than {max_bytes:,} bytes.")
    unpacker = Unpacker(packed="gzip" in encoding, max_bytes=max_bytes)
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    async for chunk in response.stream:
        unpacker.add(chunk)
    return unpacker.content()


def _connection_problem(url: httpx2.URL, error: httpx2.HTTPError) -> UnfitError:
    problem = _certificate_problem(error)
    if problem:
        return UnfitError(
            "certificate", f"The certificate of {url.host} cannot be trusted: {problem}."
        )
    return UnfitError("unreachable", f"The host {url.host} does not answer: {error}.")


def _certificate_problem(error: BaseException) -> str | None:
    """What is wrong with a certificate, where that is what lies below `error`."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLCertVerificationError):
            return below.verify_message or "it is not valid"
        below = below.__cause__ or below.__context__
    return None
