import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.corpus import read_material, write_material, write_rejections
from copydesk.errors import Damaged
from copydesk.records import Chat, Document, Material, Message, Rejection

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
CHATS = st.builds(
    Chat,
    id=TEXT,
    client=TEXT,
    form=st.sampled_from(["messages", "prompt-completion", "alpaca", "sharegpt"]),
    messages=st.lists(
        st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT),
        max_size=4,
    ).map(tuple),
    learned=st.lists(st.integers(0, 3), max_size=2).map(tuple),
    date=st.none() | TEXT,
    source=TEXT,
    sha256=TEXT,
)


@PROPERTY
@given(st.lists(DOCUMENTS | CHATS, max_size=6).map(tuple))
def test_what_is_read_is_what_was_written(tmp_path: Path, material: tuple[Material, ...]) -> None:
    write_material(tmp_path / "d.jsonl", material)
    assert read_material(tmp_path / "d.jsonl") == material


def test_a_dataset_from_before_there_were_chats_is_read(tmp_path: Path) -> None:
    line = (
        '{"client": "acme", "date": null, "format": "blog", "id": "a", "keyword": null, '
        '"sha256": "00", "source": "a.jsonl:1", "text": "The \\"record\\" fell.", "title": "Tea"}\n'
    )
    (tmp_path / "train.jsonl").write_text(line, encoding="utf-8")
    (page,) = read_material(tmp_path / "train.jsonl")
    assert isinstance(page, Document)
    assert (page.form, page.text) == ("page", 'The "record" fell.')
    write_material(tmp_path / "again.jsonl", [page])
    assert (tmp_path / "again.jsonl").read_text(encoding="utf-8") == line, "and has its digest"


def test_a_record_of_a_later_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"record": "chat/2", "id": "a"}\n', encoding="utf-8")
    with pytest.raises(Damaged, match=r"Line 1 is a 'chat/2'.*Upgrade Copydesk"):
        read_material(path)


def test_rejections_are_lines_with_sorted_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_rejections(path, [Rejection(source="café.md", line=None, rule="no-text", reason="None.")])
    line = '{"line": null, "reason": "None.", "rule": "no-text", "source": "café.md"}\n'
    assert path.read_bytes() == line.encode()


def test_damage_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    document = Document(id="a", client="a", title="a", text="a", format="a", source="a", sha256="a")
    write_material(path, [document, document])
    fields = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    for wrong in ("{", "[]", "", json.dumps({**fields, "text": 3}), '{"id": "a"}'):
        path.write_text(f"{json.dumps(fields)}\n{wrong}\n", encoding="utf-8")
        with pytest.raises(Damaged, match="Line 2 is not a page or chat"):
            read_material(path)
    with pytest.raises(Damaged, match="cannot be read"):
        read_material(tmp_path / "absent.jsonl")


def test_a_number_written_as_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    turns = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))
    chat = Chat(
        id="a", client="a", form="messages", messages=turns, learned=(1,), source="a", sha256="a"
    )
    write_material(path, [chat])
    path.write_text(path.read_text(encoding="utf-8").replace("[1]", '["1"]'), encoding="utf-8")
    with pytest.raises(Damaged, match="Line 1 is not a page or chat"):
        read_material(path)
