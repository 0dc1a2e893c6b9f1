import csv
import hashlib
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.corpus import CurateSettings, read_sources
from copydesk.errors import CopydeskError, InvalidInput
from copydesk.records import Document, Rejection

PROPERTY = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
BODY = "A page about the kettle and the windowsill."


def read(*sources: Path, columns: dict[str, str] | None = None, **limits: Any) -> list[Any]:
    chosen = CurateSettings(**{"min_words": {"blog": 1}, **limits})
    return list(read_sources(sources, client="acme", columns=columns, settings=chosen))


def documents(found: list[Any]) -> list[Document]:
    return [one for one in found if isinstance(one, Document)]


def rules(found: list[Any]) -> list[tuple[int | None, str]]:
    return [(one.line, one.rule) for one in found if isinstance(one, Rejection)]


def line(**fields: object) -> str:
    return json.dumps({"title": "Kettle", "body_markdown": BODY, **fields}, ensure_ascii=False)


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_json_line_becomes_a_document(tmp_path: Path) -> None:
    raw = line(id="k1", date="2024-02-10T09:00:00Z", format="Blog", keyword="the  kettle", tags=[1])
    path = write(tmp_path / "posts.jsonl", "\n" + raw + "\r\n")
    assert read(path) == [
        Document(
            id="k1",
            client="acme",
            title="Kettle",
            text=BODY,
            format="blog",
            date="2024-02-10",
            keyword="the kettle",
            source="posts.jsonl:2",
            sha256=hashlib.sha256(raw.encode()).hexdigest(),
        )
    ]


@pytest.mark.parametrize("name", ["text", "body", "content", "body_markdown"])
def test_the_text_may_be_under_any_of_its_names(tmp_path: Path, name: str) -> None:
    raw = json.dumps({"title": "T", name: BODY})
    assert documents(read(write(tmp_path / "a.ndjson", raw)))[0].text == BODY


def test_each_bad_line_is_rejected_by_its_rule_and_the_rest_kept(tmp_path: Path) -> None:
    lines: list[tuple[bytes, str]] = [
        (b"{not json", "not-json"),
        (b"[" * 200_000, "not-json"),
        (b'{"title": ' + b"9" * 6000 + b"}", "not-json"),
        (b"[1, 2]", "not-an-object"),
        (b'{"title": "T"}', "no-text"),
        (b'{"title": "T", "text": ["a"]}', "no-text"),
        (b'{"title": "T", "text": "# T"}', "no-text"),
        (b'{"body": "words without a title"}', "no-title"),
        (b'{"text": "words without a title"}', "too-short"),
        (line(body_markdown="🌙").encode(), "too-short"),
        (line(body_markdown="word " * 50_000).encode(), "too-long"),
        (line(title="word " * 200).encode(), "too-long"),
        (line(date="10 Feb 2024").encode(), "bad-date"),
        (line(date="2024-02-30").encode(), "bad-date"),
        (line(keyword=["a"]).encode(), "bad-field"),
        (line(format="../x").encode(), "bad-field"),
        (line().encode("utf-16-le"), "null-bytes"),
        (b'{"title": "T", "text": "nul \\u0000"}', "null-bytes"),
        (b'{"title": "T", "text": "caf\xe9"}', "not-utf8"),
        (b'{"title": "T", "text": "half \\ud800"}', "not-utf8"),
    ]
    content = b"\n".join([line(id="first").encode(), *(raw for raw, _ in lines)])
    found = read(write(tmp_path / "posts.jsonl", content + b"\n" + line(id="last").encode()))
    assert [document.id for document in documents(found)] == ["first", "last"]
    assert rules(found) == [(number, rule) for number, (_, rule) in enumerate(lines, start=2)]
    reasons = [one.reason for one in found if isinstance(one, Rejection)]
    assert all(reason[0].isupper() and reason.endswith(".") for reason in reasons)
    assert "250,000 characters" in reasons[10] and "200,000" in reasons[10]


def test_ids_are_made_from_the_page_and_not_from_its_place(tmp_path: Path) -> None:
    one = write(tmp_path / "a" / "one.md", f"# The Kettle\n\n{BODY}")
    two = write(tmp_path / "b" / "two.jsonl", json.dumps({"title": "The Kettle", "text": BODY}))
    other = write(tmp_path / "c.md", f"# The Kettle\n\n{BODY} More.")
    ids = [document.id for document in documents(read(one, two, other))]
    assert ids[0] == ids[1] != ids[2]
    assert all(name.startswith("the-kettle-") for name in ids)


def test_bom_crlf_and_decomposed_letters_are_made_plain(tmp_path: Path) -> None:
    text = unicodedata.normalize("NFD", "# Café\r\n\r\nCafé crème.\r\n")
    document = documents(read(write(tmp_path / "a.md", b"\xef\xbb\xbf" + text.encode())))[0]
    assert (document.title, document.text) == ("Café", "Café crème.")


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("---\ntitle: 10:30\ndate: 2024-02-10\n---\nWords here.", "10:30", "Words here."),
        ("---\ntitle: No\n...\n# Other\n\nWords.", "No", "# Other\n\nWords."),
        ("---\nTitle: Same\n---\n# same\n\nWords.", "Same", "Words."),
        ("# From **heading**\n\nWords.", "From **heading**", "Words."),
        ("Words only.", "my-page", "Words only."),
        ("---\n\nWords after a rule.", "my-page", "---\n\nWords after a rule."),
        ("---\n# nothing\n---\nWords.", "my-page", "Words."),
    ],
)
def test_front_matter_and_titles_of_markdown(
    tmp_path: Path, content: str, title: str, text: str
) -> None:
    document = documents(read(write(tmp_path / "my-page.markdown", content)))[0]
    assert (document.title, document.text) == (title, text)
    assert document.source == "my-page.markdown"


@pytest.mark.parametrize(
    ("matter", "reason"),
    [
        ("a: &x [1]\nb: *x", "anchors"),
        ("a: " + "[" * 60_000, "nested"),
        ("? " * 30_000, "nested"),
        ("a: " + "x" * 70_000, "64 KiB"),
        ("- a\n- b", "name: value"),
        ("a: b: c", "line 2"),
        ("? [a]\n: b", "line 2"),
        ('a: "\\UFFFFFFFF"', "cannot be used"),
        ("a: \x07", "characters"),
    ],
    ids=["alias", "flow", "keys", "large", "list", "colon", "key", "escape", "bell"],
)
def test_hostile_or_wrong_front_matter_is_rejected(
    tmp_path: Path, matter: str, reason: str
) -> None:
    found = read(write(tmp_path / "a.md", f"---\n{matter}\n---\n{BODY}"))
    assert rules(found) == [(None, "bad-front-matter")]
    assert reason in found[0].reason


def test_csv_cells_are_read_as_another_csv_writer_wrote_them(tmp_path: Path) -> None:
    texts = ['Says "hi",\nand a second line.', "Plain; words\twith marks.", "Long " * 30_000]
    path = tmp_path / "posts.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Post Title", "Content", "DATE", "Views"])
        writer.writerows([f"Title {i}", text, "2024-01-05", "7"] for i, text in enumerate(texts))
        writer.writerow(["", "", "", ""])
        writer.writerow(["No text", "", "", ""])
    found = read(path, columns={"title": "Post Title"})
    assert [document.text for document in documents(found)] == [text.strip() for text in texts]
    assert [d.source for d in documents(found)] == [f"{path.name}:{n}" for n in (2, 4, 5)]
    assert {document.date for document in documents(found)} == {"2024-01-05"}
    assert rules(found) == [(7, "no-text")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_of_other_spreadsheets(tmp_path: Path, delimiter: str, end: str) -> None:
    rows = [["title", "text"], ["One", "First words."], ["Two", "Second words."]]
    path = write(tmp_path / "a.csv", end.join(delimiter.join(row) for row in rows))
    assert [d.title for d in documents(read(path))] == ["One", "Two"]


def test_csv_rows_that_are_wrong_are_rejected_and_the_rest_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'title,text\nA,one,two\nB,"x"y\nC,Fine words.\nD,"open\nend')
    found = read(path)
    assert rules(found) == [(2, "bad-csv"), (3, "bad-csv"), (5, "bad-csv")]
    assert [document.title for document in documents(found)] == ["C"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"titel": "title"}, "titel"),
        ({"title": "Headline"}, "Headline"),
        (None, "No column holds the text"),
    ],
)
def test_csv_columns_that_do_not_fit_are_named(
    tmp_path: Path, columns: dict[str, str] | None, said: str
) -> None:
    path = write(tmp_path / "a.csv", "title,post\nA,words\n")
    with pytest.raises(InvalidInput, match=said):
        read(path, columns=columns)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.jsonl", None, "no such file"),
        ("x" * 300 + ".md", None, "cannot be read"),
        ("empty.jsonl", b"", "empty"),
        ("blank.md", b" \r\n\n", "empty"),
        ("image.jsonl", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\n", "binary"),
        ("utf16.jsonl", line().encode("utf-16"), "binary"),
        ("image.md", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\n", "NUL"),
        ("latin.csv", "title,text\nA,café".encode("latin-1"), "0xe9 at offset 16"),
        ("page.docx", b"PK", "docx"),
        ("noending", b"words", "noending"),
        ("big.md", b"word " * 500, "larger than 2,000 bytes"),
    ],
)
def test_files_that_are_wrong_as_a_whole_are_named(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        write(path, content)
    with pytest.raises(InvalidInput, match=said) as caught:
        read(path, max_bytes=2000)
    assert name in str(caught.value) and caught.value.todo


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(InvalidInput, match="not an ordinary file"):
        read(tmp_path / "a.jsonl")


def test_a_folder_is_read_in_order_and_its_bad_files_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    for name in ("b.md", "a.MD", "z/c.markdown", ".hidden.md", ".git/d.md", "note.txt"):
        write(folder / name, f"{BODY} In {name}.")
    write(folder / "z" / "posts.jsonl", line())
    write(folder / "bad.md", b"\xff\xfe")
    write(folder / "empty.csv", b"")
    found = read(folder)
    read_names = [d.source for d in documents(found)]
    assert read_names == ["a.MD", "b.md", "z/c.markdown", "z/posts.jsonl:1"]
    assert rules(found) == [(None, "not-utf8"), (None, "no-text")]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "readme.txt", "words")
    with pytest.raises(InvalidInput, match="no pages"):
        read(tmp_path)


def test_links_are_followed_only_to_files_inside_the_folder(tmp_path: Path) -> None:
    secret = write(tmp_path / "outside" / "secret.md", f"{BODY} Secret.")
    folder = tmp_path / "site"
    write(folder / "page.md", BODY)
    write(folder / ".store" / "kept.md", f"{BODY} Kept.")
    (folder / "again.md").symlink_to("page.md")
    (folder / "broken.md").symlink_to("nowhere.md")
    (folder / "inner").symlink_to(folder, target_is_directory=True)
    (folder / "kept.md").symlink_to(".store/kept.md")
    (folder / "loop.md").symlink_to("loop.md")
    (folder / "out.md").symlink_to(secret)
    (folder / "outdir").symlink_to(secret.parent, target_is_directory=True)
    found = read(folder)
    assert [d.text for d in documents(found)] == [BODY, f"{BODY} Kept."]
    rejected = {Path(r.source).name: r.rule for r in found if isinstance(r, Rejection)}
    assert rejected == {
        "broken.md": "symlink",
        "inner": "symlink",
        "loop.md": "symlink",
        "out.md": "outside-folder",
        "outdir": "outside-folder",
    }


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "site" / "a.md", BODY)
    assert len(read(path, tmp_path / "site")) == 1


def test_a_file_name_that_is_not_utf8_is_shown_as_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md"))
    try:
        write(path, BODY)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    document = documents(read(path))[0]
    assert document.title == "caf\\xe9" and document.source.encode().endswith(b"caf\\xe9.md")


@PROPERTY
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_lose_the_valid_lines_around_them(tmp_path: Path, junk: bytes) -> None:
    path = write(
        tmp_path / "posts.jsonl",
        line(id="a").encode() + b"\n" + junk + b"\n" + line(id="b").encode(),
    )
    ids = [document.id for document in documents(read(path))]
    assert ids[0] == "a" and ids[-1] == "b"
    path.write_bytes(junk + b"\n" + line(id="b").encode())
    assert documents(read(path))[-1].id == "b"


@PROPERTY
@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(lambda text: f"---\n{text}\n---\nwords".encode())
    | st.text(alphabet="ab:-[]{}&*!?|>#'\"\n \t%,", max_size=60).map(
        lambda text: f"---\n{text}\n---\nwords".encode()
    ),
    st.sampled_from([".jsonl", ".md", ".csv"]),
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", content)
    try:
        found = read(path)
    except CopydeskError as error:
        assert str(path) in str(error)
    else:
        for document in documents(found):
            document.text.encode()
            assert document.text and document.title
