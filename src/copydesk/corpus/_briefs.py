"""The brief that a page might have been written from, and its wording as a user's turn.

Deterministic: the brief is read off the page, so a tuned model learns to follow briefs without
anybody having written them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from copydesk.corpus._intent import intent_of
from copydesk.corpus._words import (
    clean_line,
    headings,
    plain,
    prose_lines,
    prose_words,
    word_count,
)
from copydesk.records import Brief, Document, Example, Material, Message

BRIEF_TEMPLATE_VERSION: Final = 2
"""Raised with every change of `brief_text`: adapters are trained on one wording."""

_MOST_POINTS: Final = 6
_MOST_KEYWORD_WORDS: Final = 3
_PIECES: Final[Mapping[str, str]] = {
    "blog": "a blog post",
    "doc": "a documentation page",
    "landing": "a landing page",
    "product": "a product description",
    "social": "a social media post",
}
_EMPHASIS: Final = "*_`[]"
_FUNCTION_WORDS: Final = """
a about above after again against all almost also although always am an and any are around as
at be because been before behind being below between both but by can cannot could did do does
doing don't down during each either else even ever every few first for from get gets getting
had has have having he her here hers him his how i if in inside into introducing is isn't it
it's its itself just let let's like made make makes making many may me might mine more most
much must my never new no nobody nor not nothing now of off on once one only onto or other our
ours out over own part per really same say says see she should since so some still such than
that that's the their theirs them then there there's these they thing things this those three
through to together too toward towards two under until up upon us use used using very via want
was way ways we were what what's when where whether which while who whole whom whose why will
with within without won't would yes yet you you're your yours
"""


def document_brief(document: Document) -> Brief:
    """What to ask for, to be given this page: title, keyword, format, intent, headings, length."""
    keyword = document.keyword or _keyword(document.title, document.text)
    return Brief(
        title=document.title,
        format=document.format,
        keyword=keyword,
        points=_points(document.text)[:_MOST_POINTS],
        length=_length(document.text),
        intent=intent_of(document.title, keyword, document.format),
    )


def _points(text: str) -> tuple[str, ...]:
    """Its headings of the second and third level, as plain words."""
    found = (
        clean_line(plain(words)).translate(dict.fromkeys(map(ord, _EMPHASIS)))
        for level, words in headings(text)
        if level in (2, 3)
    )
    return tuple(point for point in found if point)


def _length(text: str) -> int:
    """Its words, rounded to tens."""
    return max(10, (word_count(text) + 5) // 10 * 10)


def document_examples(document: Document, *, most_words: int) -> tuple[Example, ...]:
    """The page as one example, or a long one as one for each part, with the outline as context.

    Parts are runs of sections that begin with a heading of the second level and have `most_words`
    words together; a section that is longer by itself stays whole. A page without such headings is
    one example.
    """
    parts = _parts(document.text, most_words) if document.title else []
    if len(parts) < 2:
        return (document_example(document),)
    whole = document_brief(document)
    outline = _points(document.text)
    examples: list[Example] = []
    for part in parts:
        brief = replace(
            whole, points=_points(part)[:_MOST_POINTS], length=_length(part), outline=outline
        )
        asked = Message(role="user", content=brief_text(brief))
        answer = Message(role="assistant", content=part)
        examples.append(
            Example(id=document.id, messages=(asked, answer), learned=(1,), brief=brief)
        )
    return tuple(examples)


def _parts(text: str, most_words: int) -> list[str]:
    """Runs of sections of `text`; joined by blank lines they are the text."""
    if word_count(text) <= most_words:
        return [text]
    parts: list[str] = []
    for section in _sections(text):
        joined = f"{parts[-1]}\n\n{section}" if parts else section
        if parts and word_count(joined) <= most_words:
            parts[-1] = joined
        else:
            parts.append(section)
    return parts


def _sections(text: str) -> Iterator[str]:
    """`text` cut before each `## ` outside fenced code."""
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        if line.startswith("## ") and not fenced and any(lines):
            yield "\n".join(lines).strip()
            lines = []
        lines.append(line)
    yield "\n".join(lines).strip()


def document_example(document: Document) -> Example:
    """The page as an answer to its own brief; a plain text as it stands."""
    answer = Message(role="assistant", content=document.text)
    if not document.title:
        return Example(id=document.id, messages=(answer,), learned=(0,))
    brief = document_brief(document)
    asked = Message(role="user", content=brief_text(brief))
    return Example(id=document.id, messages=(asked, answer), learned=(1,), brief=brief)


def material_example(material: Material) -> Example:
    """What a page or chat teaches."""
    if isinstance(material, Document):
        return document_example(material)
    return Example(id=material.id, messages=material.messages, learned=material.learned)


def brief_text(brief: Brief) -> str:
    """The user's turn of the chat. A line break inside a field cannot start a line of its own."""
    piece = _piece(brief.format)
    lines = [
        f"Write a part of {piece}." if brief.outline else f"Write {piece}.",
        f"Title: {clean_line(brief.title)}",
        f"Intent: {brief.intent or intent_of(brief.title, brief.keyword, brief.format)}",
    ]
    if brief.keyword:
        lines.append(f"Keyword: {clean_line(brief.keyword)}")
    if brief.length is not None:
        lines.append(f"Length: about {brief.length} words")
    if brief.outline:
        lines.append("Outline of the whole:")
        lines.extend(f"- {clean_line(point)}" for point in brief.outline)
    if brief.points:
        lines.append("Points to cover:")
        lines.extend(f"- {clean_line(point)}" for point in brief.points)
    return "\n".join(lines)


def _piece(page_format: str) -> str:
    name = clean_line(page_format)
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return _PIECES.get(name.lower(), f"{article} {name} piece")


def _keyword(title: str, text: str) -> str | None:
    """The longest run of content words of the title that the first paragraph holds too."""
    words = [word.lower() for word in prose_words(title)]
    function_words = frozenset(_FUNCTION_WORDS.split())
    content = [_is_content(word, function_words) for word in words]
    opening = [word.lower() for word in prose_words(_first_paragraph(text))]
    for length in range(_MOST_KEYWORD_WORDS, 0, -1):
        for start in range(len(words) - length + 1):
            run = words[start : start + length]
            if all(content[start : start + length]) and _holds(opening, run):
                return " ".join(run)
    return None


def _first_paragraph(text: str) -> str:
    """The first run of lines that is neither blank, nor a heading, nor code."""
    paragraph: list[str] = []
    for line in prose_lines(text):
        if line.strip() and not line.startswith("#"):
            paragraph.append(line)
        elif paragraph:
            break
    return "\n".join(paragraph)


def _is_content(word: str, function_words: frozenset[str]) -> bool:
    bare = word.replace("\u2019", "'")
    return len(bare) > 1 and not bare.isdigit() and bare not in function_words


def _holds(words: list[str], run: list[str]) -> bool:
    return any(words[i : i + len(run)] == run for i in range(len(words)))
