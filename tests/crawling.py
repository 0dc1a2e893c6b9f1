"""Crawls of the local site, and what came of them by path."""

import ssl
import time
from pathlib import Path
from typing import Any

import trustme
from local_site import Site

from copydesk.corpus import Gathered
from copydesk.corpus._readers import Raw
from copydesk.corpus.web import WebSettings, crawl
from copydesk.records import Rejection

QUICK: dict[str, Any] = {
    "delay_seconds": 0.0,
    "allow_private": True,
    "timeout_seconds": 20,
    "retries": 0,
}


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


def sleep_with(count: Any) -> Any:
    """Sleep for real, and count."""

    def sleep(seconds: float) -> None:
        count(seconds)
        time.sleep(seconds)

    return sleep


def tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context
