import json
from dataclasses import replace
from pathlib import Path

import pytest

from copydesk.corpus import (
    BRIEF_TEMPLATE_VERSION,
    brief_text,
    document_brief,
    document_example,
    document_examples,
    intent_of,
    length_band,
    word_count,
)
from copydesk.records import Brief, Document

SAMPLES = sorted(
    (Path(__file__).resolve().parents[2] / "src/copydesk/samples").glob("*/posts.jsonl")
)
PAGE = Document(
    id="kettle-1",
    client="acme",
    title="The Copper Kettle and How to Keep It",
    text=(
        "# Again\n\nA copper kettle is a friend; this [copper kettle](https://example.org) shone.\n"
        "\n## First, *descale* it ##\n\n```\n## not a heading\n```\n\n### Then `dry` it\n\n#### No"
    ),
    format="blog",
    source="posts.jsonl:1",
    sha256="0" * 64,
)


def test_a_brief_is_read_off_the_page() -> None:
    assert document_brief(PAGE) == Brief(
        title=PAGE.title,
        format="blog",
        keyword="copper kettle",
        points=("First, descale it", "Then dry it"),
        length=20,
        intent="informational",
    )
    assert word_count(PAGE.text) == 18


def test_an_example_is_the_page_under_its_brief() -> None:
    example = document_example(PAGE)
    assert (example.id, example.text) == (PAGE.id, PAGE.text)
    assert example.brief == document_brief(PAGE)


@pytest.mark.parametrize(
    ("title", "opening", "keyword"),
    [
        ("Why the sweet peas failed", "Our Sweet Peas, all of them, failed.", "sweet peas"),
        ("Cold brew coffee at home", "Make cold-brew; then cold brew coffee.", "cold brew coffee"),
        (
            "A new cold brew coffee grinder set",
            "This set: a coffee grinder set.",
            "coffee grinder set",
        ),
        ("Peas, beans and onions", "Onions first. Beans later.", "beans"),
        ("All about it", "It is all about this.", None),
        ("Ten roses", "Tulips only.", None),
        ("2024 10", "In 2024 there were 10.", None),
        ("…", "Words.", None),
    ],
)
def test_the_keyword_is_the_longest_shared_run_of_content_words(
    title: str, opening: str, keyword: str | None
) -> None:
    page = replace(PAGE, title=title, text=f"{opening}\n\n{title} again, later on.")
    assert document_brief(page).keyword == keyword


def test_a_given_keyword_stands() -> None:
    assert document_brief(replace(PAGE, keyword="tea")).keyword == "tea"


def test_points_are_six_at_most_and_length_is_rounded() -> None:
    text = "\n\n".join(f"## Point {n}\n\n{'word ' * 13}" for n in range(8))
    brief = document_brief(replace(PAGE, text=text))
    assert brief.points == tuple(f"Point {n}" for n in range(6))
    assert brief.length == 120
    assert document_brief(replace(PAGE, text="word " * 3)).length == 10


def test_the_wording_of_version_2() -> None:
    brief = Brief(
        title="Sweet Peas", format="blog", keyword="sweet peas", points=("Sow", "Pinch"), length=150
    )
    assert BRIEF_TEMPLATE_VERSION == 2
    assert brief_text(brief) == (
        "Write a blog post.\nTitle: Sweet Peas\nIntent: informational\nKeyword: sweet peas\n"
        "Length: about 150 words\n"
        "Points to cover:\n- Sow\n- Pinch"
    )
    email = brief_text(Brief(title="Buy it", format="email"))
    assert email == "Write an email piece.\nTitle: Buy it\nIntent: transactional"


def test_a_line_break_in_a_field_starts_no_line() -> None:
    brief = Brief(title="A\nKeyword: b", format="x\ny", points=("c\n- d",))
    assert brief_text(brief).splitlines() == [
        "Write a x y piece.",
        "Title: A Keyword: b",
        "Intent: informational",
        "Points to cover:",
        "- c - d",
    ]


@pytest.mark.parametrize(
    ("title", "keyword", "page_format", "intent"),
    [
        ("How to buy a kettle", None, "blog", "informational"),
        ("Best copper kettles of 2024", None, "blog", "commercial"),
        ("Copper or steel", "kettles compared", "blog", "commercial"),
        ("Prices and delivery", None, "landing", "transactional"),
        ("The Copper Kettle", None, "product", "transactional"),
        ("Sign in to your account", None, "doc", "navigational"),
        ("The Copper Kettle", None, "doc", "informational"),
        ("Bestowed by topography", None, "blog", "informational"),
    ],
)
def test_intents_by_rules(title: str, keyword: str | None, page_format: str, intent: str) -> None:
    assert intent_of(title, keyword, page_format) == intent
    page = replace(PAGE, title=title, keyword=keyword or "x", format=page_format)
    assert document_brief(page).intent == intent


def test_a_long_page_is_split_at_headings_with_its_outline() -> None:
    sections = [f"## Part {n}\n\n" + "word " * (20 * n) for n in range(1, 6)]
    code = "## Code\n\n```\n## not a heading\nx\n```\n\nend"
    page = replace(PAGE, text="\n\n".join(["Opening words.", *map(str.strip, sections), code]))
    examples = document_examples(page, most_words=70)
    assert "\n\n".join(example.text for example in examples) == page.text
    assert len(examples) > 2 and {example.id for example in examples} == {PAGE.id}
    assert all(
        word_count(example.text) <= 70 or example.text.count("\n## ") == 0 for example in examples
    )
    outline = (*(f"Part {n}" for n in range(1, 6)), "Code")
    for example in examples:
        assert example.brief is not None and example.brief.outline == outline
        asked = example.messages[0].content
        assert asked.startswith("Write a part of a blog post.\n")
        assert "Outline of the whole:\n- Part 1\n" in asked
    assert document_examples(page, most_words=1000) == (document_example(page),)
    bare = replace(PAGE, text="word " * 200)
    assert document_examples(bare, most_words=50) == (document_example(bare),)


@pytest.mark.parametrize(("words", "band"), [(299, "short"), (300, "medium"), (900, "long")])
def test_length_bands(words: int, band: str) -> None:
    assert length_band(words) == band


def test_most_sample_keywords_are_found_again() -> None:
    same = total = 0
    for path in SAMPLES:
        for line in path.read_text(encoding="utf-8").splitlines():
            post = json.loads(line)
            page = replace(PAGE, title=post["title"], text=post["body_markdown"])
            same += document_brief(page).keyword == post["keyword"]
            total += 1
    assert total == 106
    assert same / total > 0.75
