"""Hosts are read as they want to be: robots.txt, delays, reservations, and no pressing."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crawling import QUICK, add_sitemap, asked_pages, fetch, paths, rules, sleep_with
from local_site import Behave, Site, article, serving, trickle

from copydesk.corpus.web import WebSettings, crawl
from copydesk.errors import InvalidInput, Unreachable


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as made:
        yield made


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


@pytest.mark.parametrize(
    ("status", "rule"),
    [
        *((status, "") for status in (400, 401, 403, 404, 410, 451)),  # RFC 9309, 2.3.1.3
        *((status, "robots") for status in (500, 502, 503)),  # 2.3.1.4
        (429, "too-many-requests"),
    ],
)
def test_what_a_missing_robots_file_means(
    site: Site, tmp_path: Path, status: int, rule: str
) -> None:
    site.add("/robots.txt", "", status=status)
    site.add("/a", article("Page"))
    if rule:
        with pytest.raises((InvalidInput, Unreachable), match=rule):
            fetch(site, "/a", tmp_path)
        assert asked_pages(site) == []
    else:
        assert paths(fetch(site, "/a", tmp_path), site) == ["/a"]


@pytest.mark.parametrize(("hops", "obeyed"), [(1, True), (5, True), (6, False)])
def test_redirects_of_a_robots_file_are_followed(
    site: Site, tmp_path: Path, hops: int, obeyed: bool
) -> None:
    # RFC 9309, 2.3.1.2: at least five; beyond them the file counts as one that is not there.
    names = ["/robots.txt", *(f"/robots-{number}" for number in range(hops))]
    for name, target in itertools.pairwise(names):
        site.add(name, "", status=301, headers={"Location": target})
    site.add(names[-1], "User-agent: *\nDisallow: /\n", type="text/plain")
    site.add("/a", article("Page"))
    if obeyed:
        with pytest.raises(InvalidInput, match="robots"):
            fetch(site, "/a", tmp_path)
        assert "/a" not in site.paths()
    else:
        assert paths(fetch(site, "/a", tmp_path), site) == ["/a"]


@pytest.mark.parametrize("behave", [trickle, lambda handler: handler.wfile.write(b"no http\r\n")])
def test_a_robots_file_that_does_not_come_forbids_all(
    site: Site, tmp_path: Path, behave: Behave
) -> None:
    site.pages["/robots.txt"] = behave
    site.add("/a", article("Page"))
    with pytest.raises(Unreachable):
        fetch(site, "/a", tmp_path, timeout_seconds=1)
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


def test_a_dead_site_is_not_asked_for_every_page(site: Site, tmp_path: Path) -> None:
    names = [f"/{number}" for number in range(8)]
    for name in names:
        site.pages[name] = lambda handler: handler.wfile.write(b"nonsense\r\n\r\n")
    add_sitemap(site, *names)
    with pytest.raises(Unreachable):
        fetch(site, "/sitemap.xml", tmp_path)
    assert asked_pages(site) == ["/sitemap.xml", "/0", "/1", "/2"]
