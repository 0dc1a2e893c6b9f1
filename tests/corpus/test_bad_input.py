"""Bad input, one table for files and one for sites: each named by its rule, and nothing else hurt.

All bad files lie in one folder beside good pages, and all bad addresses in one sitemap, so that
each is also shown to do no harm to its neighbours.
"""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import docx
import openpyxl
import pytest
import trustme
from crawling import add_sitemap, fetch, paths, rules, tls
from local_site import Behave, Page, Site, article, bomb, endless, serving, trickle

import copydesk
from copydesk.corpus import Gathered
from copydesk.desk import Curation
from copydesk.errors import Unreachable

SECRET = "the-secret-that-lies-outside"
ENTITIES = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY file SYSTEM "file:///etc/passwd">]><urlset><url><loc>&file;&b;</loc></url></urlset>'
)
TEXT = "A kettle that sings. " * 20
GIGABYTES = 2 * 1024**3


def rezipped(content: bytes, part: str, inner: bytes) -> bytes:
    """An office file with one part replaced."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, inner if name == part else old.read(name))
    return target.getvalue()


def word_file() -> bytes:
    target = io.BytesIO()
    docx.Document().save(target)
    return target.getvalue()


def workbook() -> bytes:
    target = io.BytesIO()
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["title", "text"])
    book.active.append(["Kettle", TEXT])
    book.save(target)
    return target.getvalue()


def two_gigabytes(path: Path) -> None:
    """A file that says it is two gigabytes, of which nothing is on the disk."""
    with path.open("wb") as file:
        file.truncate(GIGABYTES)


def row_bomb(path: Path) -> None:
    """A workbook of some hundred kilobytes whose one sheet unpacks to 600 megabytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w") as sheet,
    ):
        for _ in range(10):
            sheet.write(bytes(60_000_000))


def tree_bomb(path: Path) -> None:
    """Millions of elements in a Word file of some hundred kilobytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("word/document.xml", "w") as part,
    ):
        for _ in range(12):
            part.write(b"<w:p/>" * 1_000_000)


class BadFile(NamedTuple):
    """A file's name, its bytes or how to make it, and the rule that names it."""

    name: str
    made: bytes | Callable[[Path], None]
    rule: str


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(path.parent.parent / target)


FILES = [
    BadFile("malformed.jsonl", b'{"title": "cut off', "not-json"),
    BadFile("deep.jsonl", b'{"text": ' + b"[" * 100_000, "not-json"),
    BadFile("number.jsonl", b'{"text": ' + b"9" * 10_000 + b"}", "not-json"),
    BadFile("malformed.json", b'[{"title": "A", "text": 1e}]', "not-json"),
    BadFile("nul.jsonl", b'{"title": "A", "text": "nul \\u0000"}', "null-bytes"),
    BadFile("nul.md", b"words\0words", "null-bytes"),
    BadFile("nul.html", article("Nul").replace("word1", "wo\0rd").encode(), "null-bytes"),
    BadFile("latin.md", "# Café\n\nWords.".encode("latin-1"), "not-utf8"),
    BadFile("utf16.csv", "title,text\nA,b".encode("utf-16"), "null-bytes"),
    BadFile("latin.jsonl", b'{"title": "Caf\xe9", "text": "x"}', "not-utf8"),
    BadFile("surrogate.jsonl", b'{"title": "A", "text": "half \\ud800"}', "not-utf8"),
    BadFile("entities.xml", ENTITIES.encode(), "xml-entities"),
    BadFile(
        "entities.docx",
        rezipped(word_file(), "word/document.xml", ENTITIES.encode()),
        "xml-entities",
    ),
    BadFile(
        "entities.xlsx",
        rezipped(workbook(), "xl/workbook.xml", ENTITIES.encode()),
        "xml-entities",
    ),
    BadFile("aliases.md", b"---\na: &a [x]\nb: *a\n---\nWords.", "bad-front-matter"),
    BadFile("packed.md", gzip.compress(b"words " * 100), "null-bytes"),
    BadFile("bomb.xlsx", row_bomb, "zip-bomb"),
    BadFile("tree.docx", tree_bomb, "zip-bomb"),
    BadFile("formula.csv", b'title,text\nA,"=HYPERLINK(""http://x.example"")"\n', "formula"),
    BadFile("command.csv", b"title,text\nA,+cmd|' /C calc'!A0\n", "formula"),
    BadFile("cells.csv", b"title,text\nA,b,c\n", "bad-csv"),
    BadFile("huge.jsonl", two_gigabytes, "too-large"),
    BadFile("huge.html", two_gigabytes, "too-large"),
    BadFile("out.md", link_to("outside/secret.md"), "outside-folder"),
    BadFile("out", link_to("outside"), "outside-folder"),
    BadFile("passwd.md", lambda path: path.symlink_to("/etc/passwd"), "outside-folder"),
    BadFile("circle.md", link_to("site/circle.md"), "symlink"),
    BadFile("nowhere.md", link_to("site/gone.md"), "symlink"),
    BadFile("up", link_to("site"), "symlink"),
]


class Curated(NamedTuple):
    """What came of the folder of bad files."""

    found: Curation
    kept_alone: int
    """Pages that the good file gave without the bad ones beside it."""
    before: dict[str, str]
    after: dict[str, str]
    workspace: Path


def snapshot(root: Path, but: Path) -> dict[str, str]:
    """Path -> what lies there, of all below a folder but one of its own."""
    return {
        str(path): f"{path.lstat().st_mtime_ns} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.stat().st_size < 2**20 else "")
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.is_relative_to(but)
    }


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory, sample_folder: Path) -> Curated:
    root = tmp_path_factory.mktemp("bad")
    site, outside, home = root / "site", root / "outside", root / "workspace"
    for folder in (site, outside, root / "alone"):
        folder.mkdir()
    (outside / "secret.md").write_text(f"# Secret\n\n{SECRET} {TEXT}")
    good = (sample_folder / "kestrel" / "posts.jsonl").read_bytes()
    for place in (site, root / "alone"):
        (place / "good.jsonl").write_bytes(good)
    for name, made, _ in FILES:
        if isinstance(made, bytes):
            (site / name).write_bytes(made)
        else:
            made(site / name)
    copydesk.init(home).close()
    with copydesk.open(home) as workspace:
        workspace.add_client("alone")
        alone = workspace.curate("alone", [root / "alone"])
        workspace.add_client("acme")
        before = snapshot(root, home)
        found = workspace.curate("acme", [site])
    return Curated(found, alone.kept, before, snapshot(root, home), home)


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_a_bad_file_is_named_by_its_rule(curated: Curated, case: BadFile) -> None:
    named = [one for one in curated.found.rejected if Path(one.source).name == case.name]
    assert [one.rule for one in named] == [case.rule]
    assert named[0].reason.endswith(".")


def test_the_good_pages_beside_bad_files_are_all_kept(curated: Curated) -> None:
    assert curated.found.kept == curated.kept_alone > 20
    bad = {case.name for case in FILES}
    assert {Path(one.source).name for one in curated.found.rejected} - {"good.jsonl"} == bad


def test_nothing_outside_of_the_workspace_is_touched_or_taken(curated: Curated) -> None:
    assert curated.after == curated.before
    inside = b"".join(p.read_bytes() for p in curated.workspace.rglob("*") if p.is_file())
    assert SECRET.encode() not in inside
    assert b"root:x:" not in inside


def said_large(handler: Any) -> None:
    """Says that two gigabytes will come, and sends none of them."""
    handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % GIGABYTES
    )


def silent(handler: Any) -> None:
    """Takes the request and says nothing until the other side has gone."""
    handler.connection.settimeout(30)
    handler.connection.recv(1)


GZIP = {"Content-Encoding": "gzip"}
GOOD = "/good"
LATIN = "Café"
ADDRESSES: dict[str, tuple[Page | Behave | None, str]] = {
    "/loop": (Page(b"", status=302, headers={"Location": "/loop"}), "redirects"),
    "/nowhere": (Page(b"", status=302), "bad-http"),
    "/away": (Page(b"", status=302, headers={"Location": "https://b.example/"}), "other-host"),
    "/scheme": (Page(b"", status=302, headers={"Location": "file:///etc/passwd"}), "other-host"),
    "/bomb": (bomb, "gzip-bomb"),
    "/huge": (endless, "too-large"),
    "/said-huge": (said_large, "too-large"),
    "/slow": (trickle, "timeout"),
    "/silent": (silent, "timeout"),
    "/nul": (Page(article("Nul").replace("word1", "wo\0rd").encode()), "null-bytes"),
    "/latin": (Page(article(LATIN).encode("latin-1")), "wrong-encoding"),
    "/klingon": (Page(article("A").encode(), "text/html; charset=klingon"), "wrong-encoding"),
    "/brotli": (Page(b"\x0b\x02\x80", headers={"Content-Encoding": "br"}), "bad-encoding"),
    "/not-gzip": (Page(b"plain", headers=GZIP), "bad-gzip"),
    "/cut": (Page(gzip.compress(b"<p>x" * 99)[:20], headers=GZIP), "bad-gzip"),
    "/picture": (Page(b"\x89PNG", "image/png"), "not-html"),
    "/entities": (Page(ENTITIES.encode(), "application/xml"), "xml-entities"),
    "/cut-sitemap": (Page(b"<urlset><url>", "application/xml"), "not-xml"),
    "/posts/wp-json/wp/v2/posts": (Page(b"[{", "application/json"), "not-json"),
    "/no-http": (lambda handler: handler.wfile.write(b"SSH-2.0\r\n\r\n"), "bad-http"),
    "/missing": (None, "http-status"),
    "javascript:alert(1)": (None, "bad-url"),
    "https://u:p@localhost/x": (None, "bad-url"),
}


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gathered, Site]]:
    site = Site()
    with serving(site):
        site.add(GOOD, article("Good"))
        site.add("/latin-said", article(LATIN).encode("latin-1"), type="text/html; charset=latin-1")
        for name, (page, _) in ADDRESSES.items():
            if page is not None:
                site.pages[name] = page
        # Two that do not answer in a row are the most that a host is forgiven.
        add_sitemap(site, *ADDRESSES, GOOD, "/latin-said")
        folder = tmp_path_factory.mktemp("crawled")
        yield fetch(site, "/sitemap.xml", folder, timeout_seconds=3), site


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_bad_address_is_named_by_its_rule(crawled: tuple[Gathered, Site], name: str) -> None:
    found, site = crawled
    assert rules(found, site)[name] == ADDRESSES[name][1]


def test_the_good_pages_of_a_bad_site_are_read_and_nothing_is_lost(
    crawled: tuple[Gathered, Site],
) -> None:
    found, site = crawled
    assert paths(found, site) == [GOOD, "/latin-said"]
    assert len(found.records) == len(ADDRESSES) + 2


def test_certificates_are_checked_by_the_host_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
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
