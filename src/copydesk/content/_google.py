"""Google's own published guidance on titles, snippets and structured data. No promise of "
"ranking."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from copydesk.content._phrases import content_words
from copydesk.content._subject import WHOLE, Span, Subject
from copydesk.records import Finding

_SEPARATORS: Final = re.compile(r"[|\u00b7\u2022,;/]|\s[-\u2013\u2014]\s")
_JSON_LD: Final = re.compile(
    r"<script[^>]*application/ld\+json[^>]*>(.*?)</script>|^```(?:json-?ld)[^\n]*\n(.*?)^```",
    re.S | re.M | re.I,
)
_MOST_DEPTH: Final = 20
_QUESTIONS: Final = (
    "Is there an audience that would find this useful if it came to you directly? Does it show"
    " first-hand knowledge? Will a reader feel they have learned enough? Does it say who wrote it"
    " and how? Answer as a person: no check can."
)


def google_findings(subject: Subject) -> Iterator[Finding]:
    """What Google's pages say against the title, the description and structured data."""
    # A post on social media has no title link and no snippet.
    if subject.brief is not None and subject.format != "social":
        yield from _title(subject)
        yield from _description(subject)
        if rule := subject.rule("google/people-first"):
            yield subject.finding(rule, WHOLE, _QUESTIONS)
    for match in _JSON_LD.finditer(subject.text):
        yield from structured_data_findings(
            subject, match.group(1) or match.group(2) or "", match.span()
        )


def _title(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("google/title")
    if rule is None:
        return
    title = (subject.title or "").strip()
    words = Counter(content_words(title))
    repeated = [word for word, times in words.items() if times > rule.number("most_repeats")]
    if not title:
        message = "The page has no title. Give it one that says what it holds."
    elif title.lower() in rule.words("vague"):
        message = f'"{title}" does not describe the page. Say what it holds.'
    elif repeated:
        message = f'The title says "{repeated[0]}" {words[repeated[0]]} times. Once is enough.'
    elif len(_SEPARATORS.findall(title)) > rule.number("most_separators"):
        message = "The title is a list of phrases. Say in one what the page holds."
    else:
        return
    yield subject.finding(rule, WHOLE, message)


def _description(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("google/description")
    description = subject.meta_description
    if rule is None or description is None:
        return
    commas = description.count(",")
    if not description.strip():
        message = "The page has no meta description. Sum it up in a sentence or two."
    elif description.strip().casefold() == (subject.title or "").strip().casefold():
        message = "The meta description repeats the title. Say what the title does not."
    elif commas > rule.number("most_commas") and not re.search(r"[.!?]", description[:-1]):
        message = "The meta description is a string of keywords. Say it in a sentence."
    else:
        return
    yield subject.finding(rule, WHOLE, message)


def structured_data_findings(subject: Subject, source: str, span: Span) -> Iterator[Finding]:
    """What is missing in JSON-LD, by the type of each of its things.

    Args:
        subject: whose rules apply.
        source: JSON.
        span: where it stands in the draft.
    """
    rule = subject.rule("google/structured-data")
    try:
        parsed: Any = json.loads(source)
    except (ValueError, RecursionError) as error:
        if rule:
            reason = str(error).partition(":")[0]
            yield subject.finding(rule, span, f"The structured data is not JSON: {reason}.")
        return
    things = list(_things(parsed, 0))
    if rule and not any("@type" in thing for thing in things):
        yield subject.finding(rule, span, "The structured data names no `@type`.")
    for thing in things:
        yield from _product(subject, thing, span)
        yield from _offer(subject, thing, span)
        ended = subject.rule("google/ended-feature")
        for name in _types(thing) if ended else ():
            if ended and name in ended.words("types"):
                message = f"Google no longer shows results for {name}. It does no harm."
                yield subject.finding(ended, span, message)


def _product(subject: Subject, thing: Mapping[str, Any], span: Span) -> Iterator[Finding]:
    rule = subject.rule("google/product-fields")
    if rule is None or "Product" not in _types(thing):
        return
    if not thing.get("name"):
        yield subject.finding(rule, span, "The Product has no `name`, which Google requires.")
    if not any(thing.get(key) for key in ("review", "aggregateRating", "offers")):
        message = "The Product has none of `review`, `aggregateRating`, `offers`: one is required."
        yield subject.finding(rule, span, message)


def _offer(subject: Subject, thing: Mapping[str, Any], span: Span) -> Iterator[Finding]:
    rule = subject.rule("google/offer-fields")
    if rule is None or "Offer" not in _types(thing):
        return
    specified: Any = thing.get("priceSpecification")
    nested = specified.get("price") if isinstance(specified, dict) else None
    if thing.get("price") in (None, "") and nested in (None, ""):
        message = "The Offer has no `price` and no `priceSpecification.price`: one is required."
        yield subject.finding(rule, span, message)
    elif not thing.get("priceCurrency") and not isinstance(specified, dict):
        message = "The Offer has no `priceCurrency`, which Google recommends."
        yield subject.finding(rule, span, message, severity="info")


def _things(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    if depth > _MOST_DEPTH:
        return
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _things(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _things(inner, depth + 1)


def _types(thing: Mapping[str, Any]) -> Sequence[str]:
    kind = thing.get("@type")
    return [str(name) for name in kind] if isinstance(kind, list) else [str(kind)] if kind else []
