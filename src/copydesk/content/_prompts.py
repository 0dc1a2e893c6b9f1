"""What the model is asked: the wording that adapters are trained on, and what it does not know yet.

Every field of a brief is one line of data. Nothing in a brief can start a line of its own, and no
check listens to it: a keyword that says "ignore the style guide" is a keyword.
"""

from collections.abc import Sequence
from dataclasses import replace

from copydesk.corpus import brief_text
from copydesk.records import Brief, Message


def page_messages(brief: Brief) -> tuple[Message, ...]:
    """The chat that asks for a whole page.

    A brief with title, keyword, format, points and length alone gives the very words that adapters
    are trained on. Facts and first-hand detail join the points; the rest are further lines.
    """
    return (Message(role="user", content="\n".join([_trained(brief), *_further(brief)])),)


def section_messages(
    brief: Brief, *, heading: str, outline: Sequence[str], said: str, words: int
) -> tuple[Message, ...]:
    """The chat that asks for one section, with the outline and what was said in view.

    Args:
        brief: of the whole page.
        heading: the section's.
        outline: all headings, in order.
        said: what the sections before it say, shortened.
        words: how long it should be.
    """
    asked = replace(brief, title=f"{brief.title}: {heading}", length=words)
    lines = [_trained(asked), *_further(brief), f"Write only the section: {_line(heading)}"]
    lines.append("Outline of the page: " + "; ".join(map(_line, outline)))
    if said:
        lines.append(f"Already said, not to be repeated: {_line(said)}")
    return (Message(role="user", content="\n".join(lines)),)


def outline_messages(brief: Brief, *, sections: int) -> tuple[Message, ...]:
    """The chat that asks for the headings of a page."""
    lines = [_trained(replace(brief, length=None)), *_further(brief)]
    lines.append(f"Give only the outline: {sections} headings, one a line, without numbers.")
    return (Message(role="user", content="\n".join(lines)),)


def title_messages(brief: Brief) -> tuple[Message, ...]:
    """The chat that asks for a title."""
    lines = [f"Write one title of at most 60 characters for a {_line(brief.format)} page."]
    lines.append(f"Keyword: {_line(brief.keyword or '')}")
    lines.extend(f"- {_line(point)}" for point in brief.points)
    return (Message(role="user", content="\n".join(lines)),)


def _trained(brief: Brief) -> str:
    points = [*brief.points, *(fact.text for fact in brief.facts), *brief.experience]
    return brief_text(replace(brief, points=tuple(points)))


def _further(brief: Brief) -> list[str]:
    labelled = {
        "Also use": "; ".join(brief.keywords),
        "Sections": "; ".join(brief.outline),
        "Reader": brief.audience or "",
        "The reader wants": brief.intent or "",
        "Link to": "; ".join(f"{link.text} {link.url}".strip() for link in brief.links),
        "End with": brief.call_to_action or "",
        "Do not claim": "; ".join(brief.banned_claims),
    }
    return [f"{label}: {_line(value)}" for label, value in labelled.items() if value]


def _line(text: str) -> str:
    return " ".join(text.split())
