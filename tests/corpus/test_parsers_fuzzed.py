"""Good files, spoiled at random: every parser reads, rejects or refuses, and raises nothing else.

The examples are drawn anew from the same seed each time. What once went wrong is kept beside them
as an `@example`.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.corpus import CurateSettings, read_sources
from copydesk.corpus._fields import UnfitError
from copydesk.corpus.web._sitemaps import read_listing
from copydesk.errors import InvalidInput
from copydesk.records import Document, Rejection

SETTINGS = CurateSettings(min_words={"blog": 1, "landing": 1, "product": 1})
SEEDED = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Change = tuple[float, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 12),
        st.binary(max_size=4)
        | st.sampled_from(
            [b"\0", b"<", b">", b"&x;", b"&#0;", b"]]>", b'"', b"\n", b",", b"{", b"[", b"]",
             b"\xff\xfe", b"\xc3", b"---\n", b"*a", b"9" * 400, b"-1", b"1e999", b"<![CDATA["]
        ),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip
"""Where in the file, as a share of it; how many bytes go; what comes in their place."""


def spoiled(content: bytes, changes: list[Change]) -> bytes:
    for share, gone, come in changes:
        at = int(share * len(content))
        content = content[:at] + come + content[at + gone :]
    return content


def office(content: bytes, part: str) -> Callable[[list[Change]], bytes]:
    """Spoils one part of an office file; the package around it stays whole."""

    def made(changes: list[Change]) -> bytes:
        target = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(content)) as old,
            zipfile.ZipFile(target, "w") as new,
        ):
            for name in old.namelist():
                inner = old.read(name)
                new.writestr(name, spoiled(inner, changes) if name == part else inner)
        return target.getvalue()

    return made


def plain(content: str) -> Callable[[list[Change]], bytes]:
    return lambda changes: spoiled(content.encode(), changes)


def word_file() -> bytes:
    document = docx.Document()
    document.add_heading("Kettles", 1)
    document.add_paragraph("They sing.", style="List Bullet")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text = "a"
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def workbook() -> bytes:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (["title", "text", "date"], ["Kettle", "It sings.", "2024-05-06"], [7, 1.5, None]):
        book.active.append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


POST = {"title": "Kettle", "text": "It sings on the sill.", "date": "2024-05-06", "keyword": "k"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
REST = {
    "id": 7, "title": {"rendered": "A"}, "content": {"rendered": "<p>Text.</p>"},
    "status": "publish", "date": "2024-05-06T07:08:09", "link": "https://wp.example/a",
}  # fmt: skip
LD = json.dumps({"@type": "BlogPosting", "headline": "Kettles", "datePublished": "2024-05-06"})
EXPORT = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:wp="http://wordpress.org/export/1.2/"><channel><wp:wxr_version>1.2</wp:wxr_version><item>
<title>Kettles</title><link>https://a.example/k</link><content:encoded><![CDATA[<p>They sing.</p>]]>
</content:encoded><wp:post_date>2024-05-06 07:08:09</wp:post_date><wp:status>publish</wp:status>
<wp:post_type>post</wp:post_type></item></channel></rss>"""
WORD, BOOK = word_file(), workbook()
FILES: dict[str, tuple[str, Callable[[list[Change]], bytes]]] = {
    "jsonl": ("a.jsonl", plain("\n".join(map(json.dumps, (POST, CHAT, REST))))),
    "json": ("a.json", plain(json.dumps([POST, CHAT, REST]))),
    "csv": ("a.csv", plain('title,text,date\nKettle,"It ""sings"",\nloud.",2024-05-06\nB,c,\n')),
    "front matter": (
        "a.md",
        plain(
            "---\ntitle: 'Kettles'\nkeywords:\n  - a\n  - b\ndate: 2024-05-06\n---\n# K\n\nSing."
        ),
    ),
    "html": (
        "a.html",
        plain(
            "<!doctype html><html lang=en><head><title>K</title>"
            f"<script type='application/ld+json'>{LD}</script></head>"
            "<body><main><h1>Kettles</h1><p>They &amp; sing.</p></main></body>"
        ),
    ),
    "wxr": ("a.xml", plain(EXPORT)),
    "docx text": ("a.docx", office(WORD, "word/document.xml")),
    "docx styles": ("a.docx", office(WORD, "word/styles.xml")),
    "docx package": ("a.docx", office(WORD, "[Content_Types].xml")),
    "docx zip": ("a.docx", lambda changes: spoiled(WORD, changes)),
    "xlsx sheet": ("a.xlsx", office(BOOK, "xl/worksheets/sheet1.xml")),
    "xlsx strings": ("a.xlsx", office(BOOK, "xl/sharedStrings.xml")),
    "xlsx book": ("a.xlsx", office(BOOK, "xl/workbook.xml")),
    "xlsx zip": ("a.xlsx", lambda changes: spoiled(BOOK, changes)),
}
LISTINGS = {
    "sitemap": "<urlset><url><loc>https://a.example/b</loc></url></urlset>",
    "index": "<sitemapindex><sitemap><loc>https://a.example/s.xml</loc></sitemap></sitemapindex>",
    "rss": "<rss version='2.0'><channel><item><link>https://a.example/b</link></item></channel></rss>",
    "atom": (
        "<feed xmlns='http://www.w3.org/2005/Atom'><entry><link rel='alternate' href='/b'/></entry>"
        "</feed>"
    ),
}


def read(path: Path) -> list[Any]:
    return list(read_sources([path], client="acme", settings=SETTINGS))


@pytest.mark.parametrize("kind", FILES)
def test_the_whole_file_is_read(tmp_path: Path, kind: str) -> None:
    name, made = FILES[kind]
    (tmp_path / name).write_bytes(made([]))
    found = read(tmp_path / name)
    assert found and not any(isinstance(one, Rejection) for one in found[:1])


@pytest.mark.parametrize("kind", FILES)
@SEEDED
@given(changes=CHANGES)
def test_a_spoiled_file_is_read_or_named(tmp_path: Path, kind: str, changes: list[Change]) -> None:
    name, made = FILES[kind]
    path = tmp_path / name
    path.write_bytes(made(changes))
    try:
        found = read(path)
    except InvalidInput as error:
        assert name in str(error)
        return
    for one in found:
        if isinstance(one, Document):
            one.text.encode()
            assert one.text.strip()
            assert "\0" not in one.text
        elif isinstance(one, Rejection):
            assert one.rule and one.reason and name in one.source


@pytest.mark.parametrize("kind", LISTINGS)
@SEEDED
@given(changes=CHANGES)
def test_a_spoiled_listing_is_read_or_named(kind: str, changes: list[Change]) -> None:
    content = spoiled(LISTINGS[kind].encode(), changes)
    try:
        listing = read_listing(content, "https://a.example/", max_bytes=10_000)
    except UnfitError as unfit:
        assert unfit.rule in {"not-xml", "xml-entities", "not-a-listing", "bad-url"}
    else:
        assert len(set(listing.addresses)) == len(listing.addresses)
