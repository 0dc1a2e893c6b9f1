"""The crawler against a real server on this machine, which logs what it is asked."""

import asyncio
import gzip
import hashlib
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from local_site import Page, Site, article, bomb, endless, serving, trickle

from copydesk.corpus import Gathered
from copydesk.corpus._readers import Raw
from copydesk.corpus.web import WebSettings, crawl
from copydesk.errors import InvalidInput, Unreachable
from copydesk.records import Rejection

QUICK: dict[str, Any] = {
    "delay_seconds": 0.0,
    "allow_private": True,
    "timeout_seconds": 20,
    "retries": 0,
}


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as made:
        yield made


def fetch(site: Site, path: str, folder: Path, **settings: Any) -> Gathered:
    return crawl(
        f"{site.address}{path}", folder=folder, settings=WebSettings(**{**QUICK, **settings})
    )


def paths(found: Gathered, site: Site) -> list[str]:
    return [
        record.place.path.removeprefix(site.address)
        for record in found.records
        if isinstance(record, Raw)
    ]


def rules(found: Gathered, site: Site) -> dict[str, str]:
    return {
        record.source.removeprefix(site.address): record.rule
        for record in found.records
        if isinstance(record, Rejection)
    }


def listing(site: Site, *names: str) -> str:
    places = [f"{site.address}{name}" if name.startswith("/") else name for name in names]
    inner = "".join(f"<url><loc>{place}</loc></url>" for place in places)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="{space}">{inner}</urlset>'


def add_sitemap(site: Site, *names: str) -> None:
    site.add("/sitemap.xml", listing(site, *names), type="application/xml")


def asked_pages(site: Site) -> list[str]:
    own = ("/robots.txt", "/.well-known/tdmrep.json")
    return [path for path in site.paths() if path not in own]


def test_a_page_comes_with_its_provenance(site: Site, tmp_path: Path) -> None:
    ld = json.dumps({"@type": "BlogPosting", "headline": "Kettles", "datePublished": "2024-05-06"})
    body = article("Kettles", head=f"<script type='application/ld+json'>{ld}</script>")
    site.add("/kettles", body)
    (record,) = fetch(site, "/kettles", tmp_path).records
    assert isinstance(record, Raw)
    assert record.place.path == f"{site.address}/kettles"
    assert record.place.digest == hashlib.sha256(body.encode()).hexdigest()
    assert record.fields["title"] == "Kettles"
    assert record.fields["date"] == "2024-05-06"
    assert record.fields["url"] == f"{site.address}/kettles"
    assert str(record.fields["retrieved"]).endswith("+00:00")
    assert "word39" in str(record.fields["text"])
    assert "rights reserved" not in str(record.fields["text"])
    (kept,) = (tmp_path / "pages.jsonl").read_text("utf-8").splitlines()
    assert json.loads(kept)["json_ld"] == [json.loads(ld)]
    assert "copydesk/" in site.log[-1].headers["user-agent"]
    assert "Mozilla" not in site.log[-1].headers["user-agent"]


def test_no_request_is_made_that_robots_disallows(site: Site, tmp_path: Path) -> None:
    site.add(
        "/robots.txt",
        "User-agent: *\nDisallow: /\n\nUser-agent: Copydesk\nDisallow: /private/\nDisallow: /*?\n",
        type="text/plain",
    )
    links = ["/a", "/private/b", "/c?page=2", "/moved", "/d"]
    site.add("/", article("Home", body="".join(f"<a href='{link}'>x</a>" for link in links)))
    site.add("/moved", "", status=301, headers={"Location": "/private/e"})
    for path in ("/a", "/private/b", "/c?page=2", "/d", "/private/e"):
        site.add(path, article(f"Page {path}"))
    found = fetch(site, "/", tmp_path)
    assert paths(found, site) == ["/", "/a", "/d"]
    assert rules(found, site) == {
        "/private/b": "robots",
        "/c?page=2": "robots",
        "/moved": "robots",
    }
    assert asked_pages(site) == ["/", "/a", "/moved", "/d"]


def test_requests_keep_the_delay_that_the_site_asks_for(site: Site, tmp_path: Path) -> None:
    site.add("/robots.txt", "User-agent: *\nCrawl-delay: 0.3\n", type="text/plain")
    for name in ("/a", "/b", "/c"):
        site.add(name, article(f"Page {name}"))
    add_sitemap(site, "/a", "/b", "/c")
    fetch(site, "/sitemap.xml", tmp_path)
    moments = [one.at for one in site.log if one.path != "/robots.txt"]
    assert len(moments) == 5
    assert min(after - before for before, after in itertools.pairwise(moments)) >= 0.3


def test_the_usual_delay_is_a_second() -> None:
    assert WebSettings().delay_seconds >= 1


def test_a_site_that_wants_minutes_between_requests_is_left_alone(
    site: Site, tmp_path: Path
) -> None:
    site.add("/robots.txt", "User-agent: *\nCrawl-delay: 4000\n", type="text/plain")
    site.add("/a", article("Page"))
    with pytest.raises(InvalidInput, match="crawl-delay"):
        fetch(site, "/a", tmp_path)
    assert asked_pages(site) == []


@pytest.mark.parametrize(("status", "read"), [(404, True), (403, True), (500, False), (503, False)])
def test_what_a_missing_robots_file_means(
    site: Site, tmp_path: Path, status: int, read: bool
) -> None:
    site.add("/robots.txt", "", status=status)
    site.add("/a", article("Page"))
    if read:
        assert paths(fetch(site, "/a", tmp_path), site) == ["/a"]
    else:
        with pytest.raises(InvalidInput, match="robots"):
            fetch(site, "/a", tmp_path)
        assert asked_pages(site) == []


def test_reservations_are_honoured(site: Site, tmp_path: Path) -> None:
    tdm = [
        {"location": "/reserved/", "tdm-reservation": 1},
        {"location": "/", "tdm-reservation": 0},
        {"location": 3, "tdm-reservation": "yes"},
        "nonsense",
    ]
    site.add("/.well-known/tdmrep.json", json.dumps(tdm), type="application/json")
    meta = '<meta name="{}" content="{}">'
    site.add("/open", article("Open"))
    site.add("/noindex", article("A", head=meta.format("ROBOTS", "NoIndex, follow")))
    site.add("/noai", article("B", head=meta.format("robots", "noai, noimageai")))
    site.add("/ours", article("C", head=meta.format("copydesk", "noindex")))
    site.add("/theirs", article("D", head=meta.format("googlebot", "noindex")))
    site.add("/header", article("E"), headers={"X-Robots-Tag": "noindex"})
    site.add("/header-theirs", article("F"), headers={"X-Robots-Tag": "googlebot: noindex, noai"})
    site.add("/header-ours", article("G"), headers={"X-Robots-Tag": "copydesk: noai"})
    site.add("/tdm-header", article("H"), headers={"tdm-reservation": "1"})
    site.add("/tdm-meta", article("I", head=meta.format("tdm-reservation", "1")))
    site.add("/reserved/file", article("J"))
    site.add("/reserved/but-open", article("K"), headers={"tdm-reservation": "0"})
    names = [name for name in site.pages if not name.startswith("/.well-known")]
    add_sitemap(site, *names)
    found = fetch(site, "/sitemap.xml", tmp_path)
    assert paths(found, site) == ["/open", "/theirs", "/header-theirs", "/reserved/but-open"]
    assert rules(found, site) == {
        "/noindex": "noindex",
        "/noai": "noai",
        "/ours": "noindex",
        "/header": "noindex",
        "/header-ours": "noai",
        "/tdm-header": "tdm-reserved",
        "/tdm-meta": "tdm-reserved",
        "/reserved/file": "tdm-reserved",
    }


def test_indexes_packed_sitemaps_and_feeds_name_pages(site: Site, tmp_path: Path) -> None:
    for name in ("/a", "/b", "/c"):
        site.add(name, article(f"Page {name}"))
    site.add("/one.xml.gz", gzip.compress(listing(site, "/a").encode()), type="application/gzip")
    add_sitemap(site, "/b", "https://elsewhere.example/x")
    index = "".join(
        f"<sitemap><loc>{site.address}{name}</loc></sitemap>"
        for name in ("/one.xml.gz", "/sitemap.xml", "/index.xml")
    )
    site.add("/index.xml", f"<sitemapindex>{index}</sitemapindex>", type="text/xml")
    found = fetch(site, "/index.xml", tmp_path / "1")
    assert paths(found, site) == ["/a", "/b"]
    assert rules(found, site) == {"https://elsewhere.example/x": "other-host"}
    rss = f"<rss version='2.0'><channel><item><link>{site.address}/c</link></item></channel></rss>"
    site.add("/rss", rss, type="application/rss+xml")
    assert paths(fetch(site, "/rss", tmp_path / "2"), site) == ["/c"]
    atom = (
        "<feed xmlns='http://www.w3.org/2005/Atom'><link href='/'/><entry>"
        "<link rel='edit' href='/edit'/><link href='/b'/></entry></feed>"
    )
    site.add("/atom", atom, type="application/atom+xml")
    assert paths(fetch(site, "/atom", tmp_path / "3"), site) == ["/b"]


def test_a_whole_site_is_read_by_its_sitemaps(site: Site, tmp_path: Path) -> None:
    site.add("/robots.txt", f"Sitemap: {site.address}/sitemap.xml\n", type="text/plain")
    add_sitemap(site, "/a")
    site.add("/", article("Home", body="<a href='/linked'>x</a>"))
    site.add("/a", article("Page a"))
    site.add("/linked", article("Linked"))
    assert paths(fetch(site, "", tmp_path), site) == ["/", "/a"]


def test_a_section_is_the_pages_below_it(site: Site, tmp_path: Path) -> None:
    hrefs = ["two", "/blog/three#part", "/shop/", "mailto:a@b.c", "pic.png", "//other.example/"]
    body = "".join(f"<a href='{href}'>x</a>" for href in hrefs)
    site.add("/blog/", article("Blog", body=body + "<a rel='nofollow' href='/blog/four'>x</a>"))
    for path in ("/blog/two", "/blog/three", "/shop/", "/blog/four"):
        site.add(path, article(f"Page {path}"))
    found = fetch(site, "/blog/", tmp_path)
    assert paths(found, site) == ["/blog/", "/blog/two", "/blog/three"]
    assert rules(found, site) == {}


def test_links_that_are_no_addresses_are_passed_over(site: Site, tmp_path: Path) -> None:
    links = "<a href='http://['>x</a><a href='two'>y</a>"
    site.add("/a/", article("A", head="<base href='http://['>", body=links))
    site.add("/b/", article("B", head="<base href='/b/c/'>", body=links))
    site.add("/b/c/two", article("Two"))
    assert paths(fetch(site, "/a/", tmp_path / "1"), site) == ["/a/"]
    assert paths(fetch(site, "/b/", tmp_path / "2"), site) == ["/b/", "/b/c/two"]


def test_a_page_alone_is_one_page(site: Site, tmp_path: Path) -> None:
    site.add("/blog", article("Blog", body="<a href='/blog/two'>x</a>"))
    assert paths(fetch(site, "/blog", tmp_path), site) == ["/blog"]
    assert asked_pages(site) == ["/blog"]


def test_wordpress_posts_are_read_page_after_page(site: Site, tmp_path: Path) -> None:
    def post(number: int, **more: Any) -> dict[str, Any]:
        return {
            "status": "publish",
            "type": "post",
            "date": "2024-01-02T03:04:05",
            "link": f"https://wp.example/{number}",
            "title": {"rendered": f"Post &amp; {number}"},
            "content": {"rendered": f"<p>The text of number {number}.</p>", "protected": False},
            **more,
        }

    kind = {"type": "application/json", "headers": {"X-WP-TotalPages": "2"}}
    path = "/wp-json/wp/v2/posts"
    site.add(path, json.dumps([post(1), post(2, status="draft")]), **kind)
    site.add(f"{path}?page=2", json.dumps([post(3), {"id": 4}]), **kind)
    found = fetch(site, path, tmp_path)
    raws = [record.fields for record in found.records if isinstance(record, Raw)]
    assert [(one["title"], one["text"], one["url"]) for one in raws] == [
        ("Post & 1", "The text of number 1.", "https://wp.example/1"),
        ("Post & 3", "The text of number 3.", "https://wp.example/3"),
    ]
    assert rules(found, site) == {
        f"{path} item 2": "not-published",
        f"{path}?page=2 item 2": "not-a-post",
    }


def test_a_second_crawl_asks_only_for_what_has_changed(site: Site, tmp_path: Path) -> None:
    site.add("/a", article("Page a"), headers={"ETag": '"1"', "X-Robots-Tag": "noarchive"})
    site.add("/b", article("Page b"), headers={"ETag": '"1"'})
    site.add("/gone", article("Gone"))
    add_sitemap(site, "/a", "/b", "/gone")
    first = fetch(site, "/sitemap.xml", tmp_path)
    site.add("/b", article("Page b, revised"), headers={"ETag": '"2"'})
    del site.pages["/gone"]
    site.log.clear()
    second = fetch(site, "/sitemap.xml", tmp_path)
    asked = {one.path: one.headers.get("if-none-match") for one in site.log}
    assert (asked["/a"], asked["/b"]) == ('"1"', '"1"')
    assert paths(second, site) == ["/a", "/b"]
    assert rules(second, site) == {"/gone": "http-status"}
    old, new = (
        [record for record in found.records if isinstance(record, Raw)] for found in (first, second)
    )
    assert new[0].place.digest == old[0].place.digest
    assert "revised" in str(new[1].fields["title"])
    # What is gone from the site is gone from the folder.
    assert old[2].place.digest not in {body.name for body in (tmp_path / "bodies").iterdir()}


def test_a_damaged_copy_is_fetched_again(site: Site, tmp_path: Path) -> None:
    site.add("/a", article("Page a"), headers={"ETag": '"1"'})
    fetch(site, "/a", tmp_path)
    (body,) = (tmp_path / "bodies").iterdir()
    body.write_bytes(b"something else")
    found = fetch(site, "/a", tmp_path)
    assert paths(found, site) == ["/a"]
    assert "if-none-match" not in site.log[-1].headers


def test_a_crawl_that_was_cut_off_goes_on(site: Site, tmp_path: Path) -> None:
    for name in ("/a", "/b", "/c"):
        site.add(name, article(f"Page {name}"))
    add_sitemap(site, "/a", "/b", "/c")
    pauses = itertools.count()

    class Stop(Exception):
        pass

    def sleep(_: float) -> None:
        if next(pauses) == 3:
            raise Stop

    address = f"{site.address}/sitemap.xml"
    settings = WebSettings(**{**QUICK, "delay_seconds": 0.5})
    with pytest.raises(Stop):
        crawl(address, folder=tmp_path, settings=settings, sleep=sleep_with(sleep))
    before = asked_pages(site)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"page": {"url": "cut o')
    found = fetch(site, "/sitemap.xml", tmp_path)
    assert paths(found, site) == ["/a", "/b", "/c"]
    after = asked_pages(site)[len(before) :]
    assert before[0] == "/sitemap.xml"
    assert before[1:]
    assert before[1:] + after == ["/a", "/b", "/c"]


def sleep_with(count: Any) -> Any:
    """Sleep for real, and count."""

    def sleep(seconds: float) -> None:
        count(seconds)
        time.sleep(seconds)

    return sleep


def test_busy_sites_are_given_the_time_they_ask_for(site: Site, tmp_path: Path) -> None:
    answers = iter([429, 503, 200])
    waits: list[float] = []

    def busy(handler: Any) -> None:
        status = next(answers)
        content = article("Page").encode() if status == 200 else b""
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(content)))
        if status == 429:
            handler.send_header("Retry-After", "1")
        handler.end_headers()
        handler.wfile.write(content)

    site.pages["/a"] = busy
    found = crawl(
        f"{site.address}/a",
        folder=tmp_path,
        settings=WebSettings(**{**QUICK, "retries": 2}),
        sleep=sleep_with(waits.append),
    )
    assert paths(found, site) == ["/a"]
    assert asked_pages(site) == ["/a"] * 3
    assert sum(waits) > 0.9


def test_a_site_that_asks_to_come_back_tomorrow_is_left_alone(site: Site, tmp_path: Path) -> None:
    later = {"status": 429, "headers": {"Retry-After": "86400"}}
    site.add("/a", "", **later)
    site.add("/b", article("Page b"))
    add_sitemap(site, "/a", "/b")
    with pytest.raises(Unreachable, match=r"too-many-requests.*86,400 s"):
        fetch(site, "/sitemap.xml", tmp_path, retries=1)
    assert asked_pages(site) == ["/sitemap.xml", "/a"]


def test_caps_end_a_crawl_and_say_so(site: Site, tmp_path: Path) -> None:
    names = [f"/{number}" for number in range(6)]
    for name in names:
        site.add(name, article(f"Page {name}"))
    add_sitemap(site, *names)
    found = fetch(site, "/sitemap.xml", tmp_path, max_pages=2)
    assert paths(found, site) == ["/0", "/1"]
    assert rules(found, site) == {"/sitemap.xml": "page-cap"}
    (capped,) = [one for one in found.records if isinstance(one, Rejection)]
    assert capped.reason.startswith("4 more addresses")


def test_what_misbehaves_is_named_and_the_rest_is_read(site: Site, tmp_path: Path) -> None:
    site.add("/good", article("Good"))
    site.add("/loop", "", status=302, headers={"Location": "/loop"})
    site.add("/nowhere", "", status=302)
    site.add("/away", "", status=302, headers={"Location": "https://elsewhere.example/"})
    site.pages["/bomb"] = bomb
    site.pages["/huge"] = endless
    site.pages["/slow"] = trickle
    site.add("/said-large", b"x", headers={"X-Said": "1"})
    site.add("/nul", article("Nul").replace("word1", "wo\0rd"))
    site.add("/latin", article("Café").encode("latin-1"), type="text/html; charset=utf-8")
    site.add("/latin-said", article("Café").encode("latin-1"), type="text/html; charset=latin-1")
    site.add("/unknown", article("Page"), type="text/html; charset=klingon")
    site.add("/brotli", b"\x0b\x02\x80", headers={"Content-Encoding": "br"})
    site.add("/not-gzip", b"plain", headers={"Content-Encoding": "gzip"})
    site.add("/cut", gzip.compress(b"<p>x" * 99)[:20], headers={"Content-Encoding": "gzip"})
    site.add("/picture", b"\x89PNG", type="image/png")
    site.add("/entities", BILLION_LAUGHS, type="application/xml")
    site.pages["/no-http"] = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    names = list(site.pages)
    add_sitemap(site, *names, "/missing", "javascript:alert(1)", "https://u:p@localhost/x")
    found = fetch(site, "/sitemap.xml", tmp_path, timeout_seconds=4)
    assert paths(found, site) == ["/good", "/said-large", "/latin-said"]
    assert rules(found, site) == {
        "/loop": "redirects",
        "/nowhere": "bad-http",
        "/away": "other-host",
        "/bomb": "gzip-bomb",
        "/huge": "too-large",
        "/slow": "timeout",
        "/nul": "null-bytes",
        "/latin": "wrong-encoding",
        "/unknown": "wrong-encoding",
        "/brotli": "bad-encoding",
        "/not-gzip": "bad-gzip",
        "/cut": "bad-gzip",
        "/picture": "not-html",
        "/entities": "xml-entities",
        "/no-http": "bad-http",
        "/missing": "http-status",
        "javascript:alert(1)": "bad-url",
        "https://u:p@localhost/x": "bad-url",
    }
    # Every address that was named is there once: nothing is lost.
    assert len(found.records) == len(names) + 3


BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + '<!ENTITY lol1 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">'
    + '<!ENTITY file SYSTEM "file:///etc/passwd">]><urlset><url><loc>&file;</loc></url></urlset>'
)


def test_a_dead_site_is_not_asked_for_every_page(site: Site, tmp_path: Path) -> None:
    names = [f"/{number}" for number in range(8)]
    for name in names:
        site.pages[name] = lambda handler: handler.wfile.write(b"nonsense\r\n\r\n")
    add_sitemap(site, *names)
    with pytest.raises(Unreachable):
        fetch(site, "/sitemap.xml", tmp_path)
    assert asked_pages(site) == ["/sitemap.xml", "/0", "/1", "/2"]


def test_private_addresses_are_refused(site: Site, tmp_path: Path) -> None:
    site.add("/a", article("Page"))
    with pytest.raises(InvalidInput, match=r"private-address.*--allow-private"):
        fetch(site, "/a", tmp_path, allow_private=False)
    assert site.log == []


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be found"):
        crawl("http://nowhere.invalid/", folder=tmp_path)


@pytest.mark.parametrize("address", ["ftp://a.example/", "http://", "http://a:b@c.example/", "x"])
def test_what_is_no_address(tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidInput):
        crawl(address, folder=tmp_path)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_certificates_are_checked_by_the_host_s_name(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: dict[str, Any] = {"/a": Page(article("Page").encode())}
    with serving(Site(pages), tls(authority, "localhost")) as site:
        with pytest.raises(Unreachable, match="certificate"):
            fetch(site, "/a", tmp_path / "1")
        with authority.cert_pem.tempfile() as trusted:
            monkeypatch.setenv("SSL_CERT_FILE", trusted)
            assert paths(fetch(site, "/a", tmp_path / "2"), site) == ["/a"]
    with (
        serving(Site(pages), tls(authority, "other.example")) as site,
        authority.cert_pem.tempfile() as trusted,
    ):
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
        with pytest.raises(Unreachable, match="certificate"):
            fetch(site, "/a", tmp_path / "3")
        assert site.log == []


def test_it_can_be_called_where_a_loop_is_running(site: Site, tmp_path: Path) -> None:
    site.add("/a", article("Page"))

    async def inside() -> Gathered:
        return fetch(site, "/a", tmp_path)

    assert paths(asyncio.run(inside()), site) == ["/a"]
    assert threading.active_count() < 20


def speak_http2(listener: ssl.SSLSocket, asked: list[dict[bytes, bytes]], content: bytes) -> None:
    """Answer every request of one connection over HTTP/2, by the library of its own protocol."""
    client, _ = listener.accept()
    with client:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        client.sendall(connection.data_to_send())
        while data := client.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    asked.append(dict(event.headers))
                    page = asked[-1][b":path"] == b"/a"
                    connection.send_headers(
                        event.stream_id,
                        [(":status", "200" if page else "404"), ("content-type", "text/html")],
                    )
                    connection.send_data(event.stream_id, content if page else b"", True)
            client.sendall(connection.data_to_send())


def test_http2_is_spoken_over_one_connection(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tls(authority, "localhost")
    context.set_alpn_protocols(["h2"])
    asked: list[dict[bytes, bytes]] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        context.wrap_socket(plain, server_side=True) as listener,
        authority.cert_pem.tempfile() as trusted,
    ):
        arguments = (listener, asked, article("Page").encode())
        # It accepts one connection: a second would never be answered.
        thread = threading.Thread(target=speak_http2, args=arguments, daemon=True)
        thread.start()
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
        address = f"https://localhost:{listener.getsockname()[1]}"
        found = crawl(f"{address}/a", folder=tmp_path, settings=WebSettings(**QUICK))
        thread.join(timeout=10)
    assert [one[b":path"] for one in asked] == [b"/robots.txt", b"/.well-known/tdmrep.json", b"/a"]
    assert {one[b":authority"].decode() for one in asked} == {address.removeprefix("https://")}
    assert [record.place.path for record in found.records if isinstance(record, Raw)] == [
        f"{address}/a"
    ]
