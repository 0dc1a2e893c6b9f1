"""Briefs: what passes, and that everything wrong is named at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import copydesk
from copydesk.content import make_brief, read_brief
from copydesk.errors import InvalidInput
from copydesk.records import Brief

SAMPLES = Path(copydesk.__file__).parent / "samples"


@pytest.mark.parametrize("client", ["fernwick", "kestrel", "moonmilk"])
def test_the_samples_are_briefs(client: str) -> None:
    brief = read_brief(SAMPLES / client / "brief.yaml")
    assert brief.title
    assert brief.keyword
    assert brief.length


def test_a_file_and_values_make_the_same_brief(tmp_path: Path) -> None:
    path = tmp_path / "brief.yaml"
    path.write_text(
        "title: 1984\nkeyword:\nformat: product\npoints:\n  - 10:30\n  - ' two '\nlength: 80\n"
    )
    brief = read_brief(path)
    assert brief == make_brief(title="1984", format="product", points=["10:30", "two"], length=80)
    assert brief == Brief(title="1984", format="product", points=("10:30", "two"), length=80)


def test_the_least_a_brief_needs(tmp_path: Path) -> None:
    path = tmp_path / "brief.yaml"
    path.write_text("title: Peas\n")
    assert read_brief(path) == Brief(title="Peas", format="blog")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "brief.yaml"
    path.write_text(
        f"titel: x\nkeyword: {'k' * 81}\nlength: 3\npoints: [ok, '', 'a\\tb', {{a: b}}]\n"
    )
    with pytest.raises(InvalidInput) as caught:
        read_brief(path)
    message = str(caught.value)
    for part in ["titel", "`title` is missing", "81 characters", "5 to 5000", "no. 2", "no. 4"]:
        assert part in message
    assert str(path) in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"title: a\0b", "binary"),
        (b"title: caf\xe9", "UTF-8"),
        (b"title: " + b"x" * 70_000, "larger than 64 KiB"),
        (b"a: &x [1]\ntitle: *x", "line 2: aliases"),
        (b"title: a\ntitle: b", "line 2: the key `title`"),
        (b"title: !!python/object:os.system x", "tag"),
        (b"title: !mine x", "tag"),
        (b"- one\n- two", "`key: value`"),
        (b"title: [", "line "),
        (b"? [a]\n: b", "a key must be a word"),
        (b"[" * 30_000, "nested"),
        (b"title: a\n---\ntitle: b", "YAML"),
        (b'title: "a\\x07b"', "control characters"),
        (b'title: "a\\u2028b"', "control characters"),
        (b"title: x\nlength: 12.5", "whole number"),
        (b"title: x\npoints: one", "must be a list"),
    ],
)
def test_files_that_are_not_briefs(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "brief.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="brief") as caught:
        read_brief(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in [tmp_path, tmp_path / "none.yaml"]:
        with pytest.raises(InvalidInput, match=path.name):
            read_brief(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": " "},
        {"title": "x" * 201},
        {"title": "two\nlines"},
        {"title": "x", "keyword": "k" * 81},
        {"title": "x", "points": ["p"] * 21},
        {"title": "x", "points": ["p" * 501]},
        {"title": "x", "points": "one text"},
        {"title": "x", "length": 4},
        {"title": "x", "length": 5001},
        {"title": "x", "format": ""},
        {"title": "half a pair \ud800"},
    ],
)
def test_values_outside_the_limits(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        make_brief(**wrong)  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_brief_or_a_named_error(tmp_path_factory: object, raw: bytes) -> None:
    path = Path(str(tmp_path_factory.getbasetemp())) / "any.yaml"  # type: ignore[attr-defined]
    path.write_bytes(raw)
    try:
        read_brief(path)
    except InvalidInput as error:
        assert "any.yaml" in str(error)
