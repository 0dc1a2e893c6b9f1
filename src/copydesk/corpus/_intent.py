"""What a searcher is after, by rules over title, keyword and format.

The classes are Broder's (2002, *A taxonomy of web search*), with the commercial one that the trade
puts between knowing and buying. Words of each are those by which Jansen, Booth and Spink (2008)
tell them apart, put into today's English.
"""

import re
from typing import Final

from copydesk.records import Intent

_SIGNS: Final[tuple[tuple[Intent, re.Pattern[str]], ...]] = (
    (
        "navigational",
        re.compile(r"\b(?:log ?in|sign ?in|contact us|about us|home ?page|customer portal)\b"),
    ),
    (
        "informational",
        re.compile(r"^(?:how|what|why|when|who|where)\b|\b(?:guide|tutorial|explained|meaning)\b"),
    ),
    (
        "commercial",
        re.compile(
            r"\b(?:best|top|versus|vs|compared?|comparison|reviews?|alternatives?|which|cheapest)\b"
        ),
    ),
    (
        "transactional",
        re.compile(
            r"\b(?:buy|order|price|prices|pricing|discount|sale|deals?|coupon|shop|subscribe|"
            r"book|download|sign ?up|free trial|quote|for hire|near me)\b"
        ),
    ),
)
_BY_FORMAT: Final[dict[str, Intent]] = {"product": "transactional", "landing": "transactional"}


def intent_of(title: str, keyword: str | None, page_format: str) -> Intent:
    """The intent that title and keyword name, or else the format's: `informational` for most."""
    words = f"{title} \n {keyword or ''}".casefold()
    for intent, pattern in _SIGNS:
        if pattern.search(words):
            return intent
    return _BY_FORMAT.get(page_format, "informational")


def length_band(words: int) -> str:
    """How long a page is, as editors speak of it: `short` below 300, `medium`, `long` from 900.

    The bounds are YoastSEO's for a page at all and for a cornerstone page.
    """
    if words < 300:
        return "short"
    return "medium" if words < 900 else "long"
