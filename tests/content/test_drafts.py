"""Writing with a stand-in for the model, and draft files there and back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.content import (
    TrainingIndex,
    draft_markdown,
    make_brief,
    read_draft,
    sampling_for,
    write_draft,
)
from copydesk.content._meta import meta_description, slug
from copydesk.content._tidy import tidy
from copydesk.corpus import brief_text
from copydesk.errors import InvalidInput
from copydesk.records import Brief, Completion, Draft, Message, Sampling, StyleGuide


@dataclass
class Writer:
    """Says what it was told to say and remembers what it was asked."""

    text: str
    finish_reason: str = "stop"
    name: str = "fernwick@3"
    asked: list[tuple[tuple[Message, ...], Sampling]] = field(default_factory=list)

    def complete(
        self,
        messages: tuple[Message, ...],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        self.asked.append((messages, sampling))
        if on_text:
            on_text(self.text)
        return Completion(text=self.text, tokens=9, finish_reason=self.finish_reason)  # type: ignore[arg-type]


BRIEF = make_brief(title="Sweet Peas, and Mice", keyword="sweet peas", length=20)
BODY = "Sweet peas go in early. The mice know it, and they can count.\n\nThis week: buy a tin."


def test_a_draft_from_a_brief() -> None:
    writer = Writer(f"  # Sweet peas and mice\n\n{BODY}\n")
    pieces: list[str] = []
    guide = StyleGuide(banned=("tin",))
    index = TrainingIndex.build(
        [("old", "The mice know it and they can count this week, buy a tin")]
    )
    draft = write_draft(
        BRIEF, writer, client="fernwick", guide=guide, on_text=pieces.append, index=index
    )
    assert draft.text == BODY
    assert (draft.client, draft.version, draft.title) == ("fernwick", "fernwick@3", BRIEF.title)
    assert draft.slug == "sweet-peas-and-mice"
    assert draft.meta_description == " ".join(BODY.split())
    assert [f.rule for f in draft.findings if f.severity != "info"] == [
        "verbatim-run", "banned-word"
    ]  # fmt: skip
    assert pieces == [writer.text]
    ((messages, sampling),) = writer.asked
    assert messages == (Message(role="user", content=brief_text(BRIEF)),)
    assert sampling == sampling_for(BRIEF)


def test_given_sampling_is_used() -> None:
    writer = Writer(BODY)
    write_draft(BRIEF, writer, client="c", sampling=Sampling(max_new_tokens=7, seed=5))
    assert writer.asked[0][1] == Sampling(max_new_tokens=7, seed=5)


def test_room_for_the_length() -> None:
    guide = StyleGuide(length={"blog": (100, 900)})
    short, unsaid = make_brief(title="t", length=100), make_brief(title="t")
    assert 125 * 1.3 < sampling_for(short, guide=guide).max_new_tokens < 300
    assert sampling_for(unsaid, guide=guide).max_new_tokens > 900 * 1.3
    assert sampling_for(unsaid).max_new_tokens == Sampling().max_new_tokens * 2 + 16
    assert sampling_for(unsaid, seed=3, temperature=0).seed == 3


def test_an_unfinished_end_is_dropped_and_said() -> None:
    writer = Writer(BODY + " Then wait for", finish_reason="length")
    draft = write_draft(BRIEF, writer, client="c")
    assert draft.text == BODY
    finding = draft.findings[-1]
    assert (finding.rule, finding.severity, finding.start) == ("cut-off", "info", len(BODY))


@pytest.mark.parametrize("said", ["", " \n\n ", "# Sweet Peas, and Mice\n\n", "\0\ufeff"])
def test_silence_is_an_error(said: str) -> None:
    with pytest.raises(InvalidInput, match=r"fernwick@3 wrote nothing.*seed"):
        write_draft(BRIEF, Writer(said), client="c")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Title: Peas\n\nText.", "Text."),
        ("**Peas**\nText.", "Text."),
        ("Peas\n====\nText.", "Text."),
        ("# Beans\n\nText.", "# Beans\n\nText."),
        ("Peas are good.\nText.", "Peas are good.\nText."),
        ("One\r\ntwo\x07.", "One\ntwo."),
    ],
)
def test_repeated_titles_go(said: str, kept: str) -> None:
    assert tidy(said, title="Peas", cut_off=False) == kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("One. Two. Thr", "One. Two."),
        ('He said "two." And th', 'He said "two."'),
        ("One. Two.", "One. Two."),
        (
            "Text here.\n\n## Specs\n\n- Weight: 2 kg\n- Vol",
            "Text here.\n\n## Specs\n\n- Weight: 2 kg",
        ),
        ("Text here.\n\n## Specs\n\n- Weig", "Text here."),
        ("No stop here\n\nNor he", "No stop here"),
        ("Mix, e.g. with sa", "Mix, e.g. with sa"),
        ("Mix it. Use Dr. Smi", "Mix it."),
        ("1. Dig.\n2. Sow.\n3.", "1. Dig.\n2. Sow."),
        ("never ends", "never ends"),
        ("", ""),
    ],
)
def test_torn_ends_go(said: str, kept: str) -> None:
    assert tidy(said, title="x", cut_off=True) == kept


@given(st.text(), st.booleans())
def test_tidying_any_text_gives_a_trimmed_part_of_it(said: str, cut_off: bool) -> None:
    kept = tidy(said, title="x", cut_off=cut_off)
    assert kept == kept.strip()
    assert len(kept) <= len(said)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Strawberry Runners, and What to Do!", "strawberry-runners-and-what-to-do"),
        ("The Baker\u2019s Caf\u00e9 & Stra\u00dfe", "the-bakers-cafe-strasse"),
        ("\u00c6bler 2025", "aebler-2025"),
        ("x" * 90, "x" * 75),
    ],
)
def test_slugs(title: str, expected: str) -> None:
    assert slug(title) == expected


@given(st.text(min_size=1))
def test_any_title_has_a_slug(title: str) -> None:
    made = slug(title)
    assert 0 < len(made) <= 75
    assert made.isascii()
    assert made.strip("-") == made
    assert all(part.isalnum() and part == part.lower() for part in made.split("-"))


def test_meta_descriptions() -> None:
    text = (
        "## Depth\n\nSow *sweet peas* [early](https://x.example), and `wait`.\nThen go.\n\n"
        + "Long. " * 40
    )
    made = meta_description(text)
    assert made.startswith("Sow sweet peas early, and wait. Then go. Long.")
    assert made.endswith("Long.")
    assert 145 < len(made) <= 156
    endless = meta_description("word " * 100)
    assert endless.endswith("word\u2026")
    assert len(endless) <= 156
    assert meta_description("## Only a heading") == ""


@given(st.text())
def test_any_text_has_a_short_description(text: str) -> None:
    made = meta_description(text)
    assert len(made) <= 156
    assert "\n" not in made


line = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)
prose = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0\ufeff"))


@given(title=line, keyword=line, text=prose)
def test_a_draft_file_gives_the_draft_back(
    tmp_path_factory: pytest.TempPathFactory, title: str, keyword: str, text: str
) -> None:
    text, title, keyword = text.strip(), title.strip() or "t", keyword.strip() or "k"
    brief = Brief(title=title, format="blog", keyword=keyword)
    draft = Draft(
        client="fernwick", version="fernwick@3", brief=brief, title=title,
        slug=slug(title), meta_description=meta_description(text), text=text,
    )  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "draft.md"
    path.write_text(draft_markdown(draft), encoding="utf-8", newline="")
    if not text:
        with pytest.raises(InvalidInput, match="no text"):
            read_draft(path)
        return
    back = read_draft(path)
    assert (back.title, back.keyword, back.format, back.text) == (title, keyword, "blog", text)


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("# Peas #\n\nText.\n", "Peas", "Text."),
        ("\ufeff# Peas\r\n\r\nText.\r\n", "Peas", "Text."),
        ("Text.\n", None, "Text."),
        ("---\ntitle: Peas\ndate: 2024-13-45\ntags: [a]\n---\nText.", "Peas", "Text."),
        ("---\ndraft: true\n---\n# Peas\nText.", "Peas", "Text."),
        ("---\ntitle: Peas\n---\n# Beans\nText.", "Peas", "# Beans\nText."),
        ("---\nProse between rules.\n---\nText.", None, "---\nProse between rules.\n---\nText."),
        ("---\nonly a rule", None, "---\nonly a rule"),
        ("---\n---\nText.", None, "Text."),
    ],
)
def test_files_as_they_come(tmp_path: Path, content: str, title: str | None, text: str) -> None:
    path = tmp_path / "draft.md"
    path.write_text(content, encoding="utf-8", newline="")
    draft = read_draft(path)
    assert (draft.title, draft.text) == (title, text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\x89PNG\0", "binary"),
        (b"caf\xe9", "UTF-8"),
        (b"x" * (1024 * 1024 + 1), "larger than 1024 KiB"),
        (b"# Peas\n", "no text"),
        (b"---\ntitle: Peas\n---", "no text"),
        (b"---\na: &b 1\nc: *b\n---\nText.", "line 3: aliases"),
        (b"---\ntitle: 'x\n---\nText.", "line"),
    ],
)
def test_files_that_are_no_drafts(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "draft.md"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said) as caught:
        read_draft(path)
    assert str(path) in str(caught.value)


def test_a_missing_draft_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.md"):
        read_draft(tmp_path / "none.md")
