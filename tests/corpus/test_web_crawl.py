"""The crawler against a real server on this machine, which logs what it is asked."""

import asyncio
import gzip
import hashlib
import itertools
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from crawling import QUICK, add_sitemap, asked_pages, fetch, listing, paths, rules, sleep_with, tls
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from local_site import Site, article, serving

from copydesk.corpus import Gathered
from copydesk.corpus._readers import Raw
from copydesk.corpus.web import WebSettings, crawl
from copydesk.errors import InvalidInput, Unreachable
from copydesk.records import Rejection


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as made:
        yield made


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


def test_it_can_be_called_where_a_loop_is_running(site: Site, tmp_path: Path) -> None:
    site.add("/a", article("Page"))

    async def inside() -> Gathered:
        return fetch(site, "/a", tmp_path)

    assert paths(asyncio.run(inside()), site) == ["/a"]
    assert threading.active_count() < 20


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


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
