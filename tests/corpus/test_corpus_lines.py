import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.corpus import (
    read_documents,
    read_examples,
    write_documents,
    write_examples,
    write_rejections,
)
from copydesk.errors import Damaged
from copydesk.records import Brief, Document, Example, Rejection

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
DOCUMENTS = st.builds(
    Document,
    id=TEXT,
    client=TEXT,
    title=TEXT,
    text=TEXT,
    format=TEXT,
    date=st.none() | TEXT,
    keyword=st.none() | TEXT,
    source=TEXT,
    sha256=TEXT,
)
BRIEFS = st.builds(
    Brief,
    title=TEXT,
    format=TEXT,
    keyword=st.none() | TEXT,
    points=st.lists(TEXT, max_size=3).map(tuple),
    length=st.none() | st.integers(0, 5000),
)
EXAMPLES = st.builds(Example, id=TEXT, brief=BRIEFS, text=TEXT)


@PROPERTY
@given(st.lists(DOCUMENTS, max_size=4).map(tuple), st.lists(EXAMPLES, max_size=4).map(tuple))
def test_what_is_read_is_what_was_written(
    tmp_path: Path, documents: tuple[Document, ...], examples: tuple[Example, ...]
) -> None:
    write_documents(tmp_path / "d.jsonl", documents)
    write_examples(tmp_path / "e.jsonl", examples)
    assert read_documents(tmp_path / "d.jsonl") == documents
    assert read_examples(tmp_path / "e.jsonl") == examples


def test_rejections_are_lines_with_sorted_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_rejections(path, [Rejection(source="café.md", line=None, rule="no-text", reason="None.")])
    line = '{"line": null, "reason": "None.", "rule": "no-text", "source": "café.md"}\n'
    assert path.read_bytes() == line.encode()


def test_damage_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    document = Document(id="a", client="a", title="a", text="a", format="a", source="a", sha256="a")
    write_documents(path, [document, document])
    fields = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    for wrong in ("{", "[]", "", json.dumps({**fields, "text": 3}), '{"id": "a"}'):
        path.write_text(f"{json.dumps(fields)}\n{wrong}\n", encoding="utf-8")
        with pytest.raises(Damaged, match="Line 2 is not a document"):
            read_documents(path)
    with pytest.raises(Damaged, match="cannot be read"):
        read_documents(tmp_path / "absent.jsonl")


def test_a_number_written_as_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    write_examples(
        path, [Example(id="a", brief=Brief(title="a", format="blog", length=150), text="a")]
    )
    path.write_text(path.read_text(encoding="utf-8").replace("150", '"150"'), encoding="utf-8")
    with pytest.raises(Damaged, match="Line 1 is not an example"):
        read_examples(path)
