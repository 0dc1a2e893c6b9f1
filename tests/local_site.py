"""A real HTTP server on this machine, for tests and benchmarks: pages, misbehaviour, a log."""

import contextlib
import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

HTML = "text/html; charset=utf-8"
Behave = Callable[[BaseHTTPRequestHandler], None]


class Page(NamedTuple):
    """What the server answers at a path."""

    content: bytes
    type: str = HTML
    status: int = 200
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """One request, as the server saw it."""

    path: str
    at: float
    """Seconds of the monotonic clock, when its first line had come."""
    headers: Mapping[str, str]


@dataclass
class Site:
    """Pages by path, or functions that answer for a path in their own way."""

    pages: dict[str, Page | Behave] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)
    address: str = ""

    def paths(self) -> list[str]:
        return [one.path for one in self.log]

    def add(self, path: str, body: str | bytes, **more: object) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.pages[path] = Page(content, **more)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.site.log.append(Asked(self.path, time.monotonic(), headers))
        page = self.site.pages.get(self.path)
        if page is None:
            page = Page(b"<h1>Not found</h1>", status=404)
        if not isinstance(page, Page):
            with contextlib.suppress(OSError):
                page(self)
            self.close_connection = True
            return
        tag = page.headers.get("ETag")
        if tag and headers.get("if-none-match") == tag:
            self.send_response(304)
            self.send_header("ETag", tag)
            self.end_headers()
            return
        self.send_response(page.status)
        self.send_header("Content-Type", page.type)
        self.send_header("Content-Length", str(len(page.content)))
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(page.content)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """The log is the site's own."""


@contextlib.contextmanager
def serving(site: Site, context: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve the site at `site.address` for the length of the block."""
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    scheme = "http"
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        scheme = "https"
    site.address = f"{scheme}://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def article(title: str, words: int = 80, *, head: str = "", body: str = "") -> str:
    """A small page with a main text."""
    text = " ".join(f"{title.lower()} word{number}" for number in range(words // 2))
    return (
        f"<!doctype html><html><head><title>{title}</title>{head}</head><body>"
        f"<nav><a href='/'>Home</a></nav><main><article><h1>{title}</h1><p>{text}.</p>"
        f"<p>And so {title.lower()} ends here, with a last line of its own.</p></article></main>"
        f"{body}<footer>All rights reserved</footer></body></html>"
    )


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte of the headers now and then, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(600):
        handler.wfile.write(b"a")
        handler.wfile.flush()
        time.sleep(0.05)


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Two gigabytes, made as they are read, without saying how many they are."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n")
    block = b"<p>more and more</p>\n" * 3000
    for _ in range(2 * 1024**3 // len(block)):
        handler.wfile.write(block)


def bomb(handler: BaseHTTPRequestHandler) -> None:
    """A gigabyte packed into a megabyte."""
    packed = gzip.compress(bytes(32 * 1024 * 1024))
    handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n"
        b"Connection: close\r\n\r\n"
    )
    for _ in range(32):
        handler.wfile.write(packed)
