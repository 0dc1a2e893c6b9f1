"""What a page says of its use: noindex, noai, nofollow, and reservations of text and data mining.

Sources: Google's robots meta tag and X-Robots-Tag; `noai` as DeviantArt proposed it in 2022; the
TDM Reservation Protocol of the W3C's community group (TDMRep, 2024): header, meta element, file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from copydesk.corpus.web._robots import path_matches
from copydesk.corpus.web._settings import TOKEN

TDM_FILE: Final = "/.well-known/tdmrep.json"
LARGEST_TDM_FILE: Final = 256 * 1024
_MOST_RULES: Final = 1000
_REFUSING: Final = frozenset({"noindex", "none", "noai"})
# Directives that have a value after a colon, which is no crawler's name.
_WITH_VALUE: Final = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)


class TdmRule(NamedTuple):
    """One rule of a site's TDM file."""

    location: str
    reserved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What is said of one page."""

    refused: tuple[str, str] | None
    """(rule, reason) where it may not be used."""
    nofollow: bool
    """Whether its links are not to be followed."""


def signals_of(
    headers: Mapping[str, str],
    meta: Iterable[tuple[str, str]],
    *,
    url: str,
    tdm_rules: Iterable[TdmRule] = (),
) -> Signals:
    """What headers, meta elements and the site's TDM file say of the page at `url`.

    What the page itself says of mining goes before the file; where its header and its meta element
    differ, the reservation holds.

    Args:
        headers: of the answer, names in lower case, one value a line.
        meta: (name, content) of the page's meta elements, names in lower case.
        url: where it was found, without redirects.
        tdm_rules: of the site's file, in order.
    """
    pairs = [(name, content) for name, content in meta]
    said = _header_directives(headers.get("x-robots-tag", ""))
    for name, content in pairs:
        if name in ("robots", TOKEN):
            said |= {part.strip().lower() for part in content.split(",")}
    refusing = sorted(said & _REFUSING)
    own = [content.strip() for name, content in pairs if name == "tdm-reservation"]
    own += [value.strip() for value in headers.get("tdm-reservation", "").split("\n")]
    if refusing:
        rule = "noai" if refusing == ["noai"] else "noindex"
        refused = (rule, f"The page asks by `{refusing[0]}` not to be used.")
    elif "1" in own or ("0" not in own and _reserved_by_file(url, tdm_rules)):
        refused = ("tdm-reserved", "The rights to text and data mining of the page are reserved.")
    else:
        refused = None
    return Signals(refused=refused, nofollow=bool(said & {"nofollow", "none"}))


def _header_directives(value: str) -> set[str]:
    """The directives of X-Robots-Tag that are said to all, or to us by name."""
    said: set[str] = set()
    for line in value.lower().split("\n"):
        to_us = True
        for part in line.split(","):
            name, colon, rest = (piece.strip() for piece in part.partition(":"))
            if colon and name not in _WITH_VALUE:
                to_us = name in (TOKEN, "*")
                name = rest
            if to_us:
                said.add(name)
    return said


def tdm_rules_of(content: bytes) -> tuple[TdmRule, ...]:
    """The rules of `/.well-known/tdmrep.json`; what is not as the protocol says is passed over."""
    try:
        listed = json.loads(content)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(listed, list):
        return ()
    rules: list[TdmRule] = []
    for item in listed[:_MOST_RULES]:
        if not isinstance(item, dict):
            continue
        location, reserved = item.get("location"), item.get("tdm-reservation")
        if isinstance(location, str) and reserved in (0, 1):
            rules.append(TdmRule(location, reserved == 1))
    return tuple(rules)


def _reserved_by_file(url: str, rules: Iterable[TdmRule]) -> bool:
    return next((rule.reserved for rule in rules if path_matches(rule.location, url)), False)
