from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.corpus import read_style_guide
from copydesk.errors import CopydeskError, InvalidInput
from copydesk.records import StyleGuide

SAMPLES = sorted(
    (Path(__file__).resolve().parents[2] / "src/copydesk/samples").glob("*/style_guide.toml")
)


def test_toml_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(
        'voice = """\nBe kind.\n"""\nbanned = [" unlock ", "unlock", "hack"]\n'
        '[prefer]\nyard = "garden"\n[length]\nblog = [110, 220]\n',
        encoding="utf-8-sig",
    )
    assert read_style_guide(path) == StyleGuide(
        voice="Be kind.",
        banned=("unlock", "hack"),
        prefer={"yard": "garden"},
        length={"blog": (110, 220)},
    )


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name)
def test_the_samples_are_read(path: Path) -> None:
    guide = read_style_guide(path)
    assert guide.voice and guide.banned and guide.prefer and guide.length


@pytest.mark.parametrize("suffix", [".md", ".txt", ".MD"])
def test_prose_becomes_the_voice(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"guide{suffix}"
    path.write_bytes(b"# Voice\r\n\r\nBe kind.\r\n")
    assert read_style_guide(path) == StyleGuide(voice="# Voice\n\nBe kind.")


def test_all_wrong_keys_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(
        'voise = "x"\nvoice = 3\nbanned = ["ok", ""]\n[prefer]\na = 1\n'
        '[length]\nblog = [220, 110]\ndoc = [1]\nsocial = ["a", true]\n',
        encoding="utf-8",
    )
    with pytest.raises(InvalidInput) as caught:
        read_style_guide(path)
    message = str(caught.value)
    for key in (
        "`voise`: is not a key",
        "`voice`",
        "`banned.1`",
        "`prefer.a`",
        "`length.blog`: must be [fewest, most]",
        "`length.doc.1`",
        "`length.social.0`",
        "`length.social.1`",
        str(path),
    ):
        assert key in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.toml", None, "no such file"),
        ("guide.docx", b"x", "docx"),
        ("guide.toml", b"voice = ", "not TOML"),
        ("guide.toml", b"a = " + b"[" * 100_000, "TOML"),
        ("guide.toml", b"a = " + b"9" * 6000, "TOML"),
        ("guide.md", b"", "empty"),
        ("guide.md", b"\xff\xfe", "0xff at offset 0"),
        ("guide.md", b"a\0b", "binary"),
        ("guide.txt", b"x" * (1024 * 1024 + 1), "1,048,576"),
    ],
)
def test_files_that_cannot_be_guides_are_named(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said) as caught:
        read_style_guide(path)
    assert name in str(caught.value)


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.binary(max_size=80)
    | st.text(alphabet="voice=banned[]\"'{},. \n1", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "guide.toml"
    path.write_bytes(content)
    try:
        guide = read_style_guide(path)
    except CopydeskError as error:
        assert str(path) in str(error)
    else:
        guide.voice.encode()
