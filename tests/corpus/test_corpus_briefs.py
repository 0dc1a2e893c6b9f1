import json
from dataclasses import replace
from pathlib import Path

import pytest

from copydesk.corpus import (
    BRIEF_TEMPLATE_VERSION,
    brief_text,
    document_brief,
    document_example,
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


def test_the_wording_of_version_1() -> None:
    brief = Brief(
        title="Sweet Peas", format="blog", keyword="sweet peas", points=("Sow", "Pinch"), length=150
    )
    assert BRIEF_TEMPLATE_VERSION == 1
    assert brief_text(brief) == (
        "Write a blog post.\nTitle: Sweet Peas\nKeyword: sweet peas\nLength: about 150 words\n"
        "Points to cover:\n- Sow\n- Pinch"
    )
    assert brief_text(Brief(title="Hi", format="email")) == "Write an email piece.\nTitle: Hi"


def test_a_line_break_in_a_field_starts_no_line() -> None:
    brief = Brief(title="A\nKeyword: b", format="x\ny", points=("c\n- d",))
    assert brief_text(brief).splitlines() == [
        "Write a x y piece.",
        "Title: A Keyword: b",
        "Points to cover:",
        "- c - d",
    ]


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
