"""HTML, XLSX, DOCX and WordPress files become documents; what is wrong with one is named."""

import datetime
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from local_site import article

from copydesk.corpus import CurateSettings, read_right, read_sources
from copydesk.corpus._fields import UnfitError
from copydesk.corpus._html import html_text, read_html
from copydesk.corpus._unpack import Unpacker
from copydesk.corpus.web._sitemaps import read_listing
from copydesk.errors import InvalidInput
from copydesk.records import Document, Rejection

SETTINGS = CurateSettings(min_words={"blog": 1, "landing": 1, "product": 1})
FUZZ = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def read(*sources: Path, columns: dict[str, str] | None = None) -> list[Any]:
    return list(read_sources(sources, client="acme", columns=columns, settings=SETTINGS))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# HTML


def test_an_html_file_is_a_document(tmp_path: Path) -> None:
    meta = '<meta name="date" content="2024-02-03">'
    (found,) = read(write(tmp_path / "kettle.html", article("Kettles", head=meta)))
    assert isinstance(found, Document)
    assert (found.title, found.date, found.format) == ("Kettles", "2024-02-03", "blog")
    assert "word3" in found.text
    assert "rights reserved" not in found.text


def test_a_page_with_product_data_is_a_product() -> None:
    data = json.dumps({"@graph": [{"@type": ["Product"], "name": "The Kettle"}, "x"]})
    head = f'<script type="application/ld+json">{data}</script>'
    head += '<script type="application/ld+json">{broken</script>'
    page = read_html(article("Shop", head=head).encode())
    assert (page.format, page.title) == ("product", "The Kettle")
    assert page.json_ld == ({"@type": ["Product"], "name": "The Kettle"},)


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ("plain &amp; simple", "plain & simple"),
        ("<p>One\ntwo</p>\n<p>Three<br>four</p>", "One two\n\nThree\nfour"),
        ("<h2>Head <em>line</em></h2>loose<p>x</p>", "## Head *line*\n\nloose\n\nx"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b"),
        ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n>\n> b"),
        ("<pre>x = 1\n  y</pre>", "```\nx = 1\n  y\n```"),
        (
            "<table><tr><th>a</th><th>b|c</th></tr><tr><td>1</td></tr></table>",
            "| a | b\\|c |\n| --- | --- |\n| 1 |  |",
        ),
        ("<p>a<script>alert(1)</script>b<a href='x'>c</a></p>", "abc"),
        ("<p>it is <strong> very </strong>hot</p>", "it is **very** hot"),
    ],
)
def test_all_of_a_fragment_becomes_markdown(fragment: str, text: str) -> None:
    assert html_text(fragment) == text


# XLSX


def workbook(*rows: list[object], title: str = "Posts") -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def test_rows_of_a_workbook_are_documents(tmp_path: Path) -> None:
    content = workbook(
        ["Headline", "Body", "date", "Views"],
        ["Kettles", "All about kettles.", datetime.date(2024, 5, 6), 3],
        [None, None, None, None],
        [1984, "A year.", "2024/05/07", 4.0],
        ["No text", None, None, None],
    )
    path = write(tmp_path / "posts.xlsx", content)
    found = read(path, columns={"title": "Headline", "text": "Body"})
    assert [(one.title, one.text, one.date) for one in found if isinstance(one, Document)] == [
        ("Kettles", "All about kettles.", "2024-05-06"),
        ("1984", "A year.", "2024-05-07"),
    ]
    assert found[0].source == "posts.xlsx sheet Posts:2"
    (left,) = [one for one in found if isinstance(one, Rejection)]
    assert (left.line, left.rule) == (5, "no-text")


def test_a_workbook_without_a_column_of_texts_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.xlsx", workbook(["Headline", "Copy"], ["a", "b"]))
    with pytest.raises(InvalidInput, match="the file's columns are Headline, Copy"):
        read(path)


def zipped(parts: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target.getvalue()


ENTITIES = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize("name", ["a.xlsx", "a.docx"])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"no zip at all", "not XLSX or DOCX"),
        (zipped({"xl/workbook.xml": b"<x/>"})[1:], "not XLSX or DOCX"),  # parts begin before it
        (zipped({"a.txt": b"x"}), "not (XLSX|DOCX)"),
        (zipped({"xl/workbook.xml": ENTITIES}), "document type or entities"),
        (zipped({"word/document.xml": ENTITIES.decode().encode("utf-16")}), "not UTF-8"),
        (zipped({f"{number}.bin": bytes(2**26) for number in range(9)}), "unpack to more"),
        (zipped({"[Content_Types].xml": b"<Types", "xl/workbook.xml": b"<"}), "not (XLSX|DOCX)"),
    ],
)
def test_office_files_that_are_none(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        read(write(tmp_path / name, content))


# DOCX


def test_a_word_file_is_a_document(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("Kettles for all", level=0)
    document.add_paragraph("The first paragraph.")
    document.add_heading("Filling", level=2)
    document.add_paragraph("tap", style="List Bullet")
    document.add_paragraph("jug", style="List Bullet")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Size", "Litres"
    document.save(str(tmp_path / "a.docx"))
    (found,) = read(tmp_path / "a.docx")
    assert found.title == "Kettles for all"
    assert found.text == (
        "The first paragraph.\n\n## Filling\n\n- tap\n- jug\n\n| Size | Litres |\n| --- | --- |"
    )


# WordPress


def wxr(*items: str, head: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<rss version="2.0" '
        'xmlns:content="http://purl.org/rss/1.0/modules/content/" '
        'xmlns:excerpt="http://wordpress.org/export/1.2/excerpt/" '
        'xmlns:wp="http://wordpress.org/export/1.2/"><channel>'
        f"<wp:wxr_version>1.2</wp:wxr_version>{''.join(items)}</channel></rss>"
    )


def item(
    title: str, body: str, *, status: str = "publish", kind: str = "post", more: str = ""
) -> str:
    return (
        f"<item><title>{title}</title><link>https://wp.example/p</link>"
        f"<content:encoded><![CDATA[{body}]]></content:encoded>"
        "<excerpt:encoded>Not this.</excerpt:encoded>"
        f"<wp:post_date>2024-05-06 07:08:09</wp:post_date><wp:status>{status}</wp:status>"
        f"<wp:post_type>{kind}</wp:post_type>{more}</item>"
    )


def test_published_posts_of_an_export_are_documents(tmp_path: Path) -> None:
    keyword = (
        "<wp:postmeta><wp:meta_key>_yoast_wpseo_focuskw</wp:meta_key>"
        "<wp:meta_value>kettle</wp:meta_value></wp:postmeta>"
    )
    path = write(
        tmp_path / "export.xml",
        wxr(
            item("Block &amp;amp; co", "<!-- wp:paragraph --><p>One two.</p>", more=keyword),
            item("Classic", "First\nline.\n\n[gallery ids='1']Second <b>bold</b>."),
            item("About", "<p>Us.</p>", kind="page"),
            item("Draft", "<p>x</p>", status="draft"),
            item("Gone", "<p>x</p>", status="trash"),
            item("Secret", "<p>x</p>", status="private"),
            item("Locked", "<p>x</p>", more="<wp:post_password>pw</wp:post_password>"),
            item("Old", "<p>x</p>", status="inherit", kind="revision"),
            item("Picture", "x", status="inherit", kind="attachment"),
            item("Menu", "x", kind="nav_menu_item"),
        ),
    )
    found = read(path)
    first, classic, about = [one for one in found if isinstance(one, Document)]
    assert (first.title, first.text, first.date) == ("Block & co", "One two.", "2024-05-06")
    assert (first.keyword, first.url) == ("kettle", "https://wp.example/p")
    assert classic.text == "First\nline.\n\nSecond **bold**."
    assert about.format == "landing"
    assert [one.rule for one in found if isinstance(one, Rejection)] == [
        *("not-published", "not-published", "not-published", "not-published"),
        *("revision", "revision", "not-a-post"),
    ]
    assert len(found) == 10


def test_entities_in_an_export_are_not_read(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.txt", "the secret")
    head = f'<!DOCTYPE rss [<!ENTITY file SYSTEM "file://{secret}">]>'
    with pytest.raises(InvalidInput, match="document type or entities"):
        read(write(tmp_path / "a.xml", wxr(item("a", "b"), head=head)))
    with pytest.raises(InvalidInput, match="no export of WordPress"):
        read(write(tmp_path / "b.xml", "<urlset/>"))
    with pytest.raises(InvalidInput, match="not XML"):
        read(write(tmp_path / "c.xml", "<rss>"))


def test_posts_of_the_rest_interface_are_documents(tmp_path: Path) -> None:
    post = {
        "id": 7,
        "title": {"rendered": "A &#8211; B"},
        "content": {"rendered": "<p>Text.</p>", "protected": False},
        "status": "publish",
        "date": "2024-05-06T07:08:09",
        "link": "https://wp.example/a",
    }
    locked = {**post, "content": {"rendered": "", "protected": True}}
    found = read(write(tmp_path / "posts.json", json.dumps([post, locked])))
    assert (found[0].title, found[0].text, found[0].date) == ("A – B", "Text.", "2024-05-06")  # noqa: RUF001
    assert found[1].rule == "not-published"


# Cells, folders, rights


@pytest.mark.parametrize(
    ("cell", "taken"),
    [
        ('=HYPERLINK("http://x.example")', False),
        ("=1+1", False),
        ("@SUM(1)", False),
        ("+cmd|' /C calc'!A0", False),
        ("-2+3", True),
        ("- a list", True),
        ("@acme makes kettles", True),
        ("+44 20 7946", True),
        ("== A heading ==", True),
    ],
)
def test_formulas_of_a_csv_are_no_text(tmp_path: Path, cell: str, taken: bool) -> None:
    quoted = cell.replace('"', '""')
    (found,) = read(write(tmp_path / "a.csv", f'title,text\nKettle,"{quoted}"\n'))
    assert isinstance(found, Document) is taken
    if not taken:
        assert found.rule == "formula"


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    outside = write(tmp_path / "secret.html", article("Secret"))
    write(inside / "page.html", article("Page"))
    (inside / "link.html").symlink_to(outside)
    found = read(inside)
    assert [one.title for one in found if isinstance(one, Document)] == ["Page"]
    assert [one.rule for one in found if isinstance(one, Rejection)] == ["outside-folder"]


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("owned", "owned"),
        ("Owned", "owned"),
        ("licence:CC-BY-4.0", "licence:CC-BY-4.0"),
        ("license: MIT", "licence:MIT"),
        ("consent:Ann, by mail, 2026-01-02", "consent:Ann, by mail, 2026-01-02"),
    ],
)
def test_rights_have_one_spelling(written: str, spelled: str) -> None:
    assert read_right(written) == spelled


@pytest.mark.parametrize("written", ["", "mine", "licence:", "consent", "owned\nmore"])
def test_what_is_no_right(written: str) -> None:
    with pytest.raises(InvalidInput, match=r"owned, licence:NAME"):
        read_right(written)


# Any bytes: a document, a rejection or a refusal, and never another error


@FUZZ
@example(b"<html>" + b"<div>" * 5000)
@example(b"<!DOCTYPE html><p>&#0;&#xD800;</p>")
@example(b"<?xml version='1.0' encoding='utf-16'?><html><body><p>x</p></body></html>")
@example(b"<meta charset=utf-7><p>+ADw-</p>")
@example(b"<meta charset=idna><p>xn--</p>")
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda t: f"<p>{t}</p>".encode()))
def test_any_bytes_as_a_page(content: bytes) -> None:
    try:
        page = read_html(content)
    except UnfitError as unfit:
        assert unfit.rule in {"null-bytes", "wrong-encoding", "not-html", "too-large"}
    else:
        assert isinstance(page.text, str)


@FUZZ
@example(b"\x1f\x8b\x08\x00")
@example(b"<urlset><url><loc>http://[</loc></url></urlset>")
@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(
        lambda t: f"<urlset><url><loc>{t}</loc></url></urlset>".encode("utf-8", "replace")
    )
)
def test_any_bytes_as_a_sitemap(content: bytes) -> None:
    try:
        listing = read_listing(content, "https://a.example/", max_bytes=10_000)
    except UnfitError as unfit:
        assert unfit.rule in {
            *("not-xml", "xml-entities", "not-a-listing", "bad-gzip", "gzip-bomb", "bad-url"),
        }
    else:
        assert len(set(listing.addresses)) == len(listing.addresses)


@FUZZ
@given(st.binary(max_size=300), st.sampled_from(["a.xlsx", "a.docx", "a.xml", "a.html", "a.json"]))
def test_any_bytes_as_a_file(tmp_path: Path, content: bytes, name: str) -> None:
    try:
        found = read(write(tmp_path / name, content))
    except InvalidInput as error:
        assert name in str(error)
    else:
        assert found


@FUZZ
@given(st.binary(max_size=2000), st.integers(1, 50), st.integers(1, 2500))
def test_unpacking_in_pieces_is_unpacking(content: bytes, step: int, limit: int) -> None:
    packed = gzip.compress(content[:700]) + gzip.compress(content[700:])
    unpacker = Unpacker(packed=True, max_bytes=limit)
    try:
        for start in range(0, len(packed), step):
            unpacker.add(packed[start : start + step])
        found = unpacker.content()
    except UnfitError as unfit:
        assert unfit.rule == "gzip-bomb"
        assert len(content) > limit
    else:
        assert found == content
        assert len(content) <= limit
