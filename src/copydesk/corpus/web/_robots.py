"""robots.txt, read as RFC 9309 says; protego matches the paths."""

import re
from typing import Final

from protego import Protego

from copydesk.corpus.web._settings import TOKEN

LARGEST_ROBOTS: Final = 500 * 1024
"""Bytes that a crawler must read; the rest may be left (RFC 9309, 2.5)."""
_AGENT_LINE: Final = re.compile(r"\s*user[- ]?agent\s*:?\s*(.*)", re.IGNORECASE)
_AGENT_TOKEN: Final = re.compile(r"[A-Za-z_-]+")
_OTHER: Final = "somebody-else"


class Robots:
    """What a site lets us fetch."""

    def __init__(self, text: str) -> None:
        self._rules = Protego.parse(_by_token(text))

    @classmethod
    def parse(cls, content: bytes) -> "Robots":
        """Read a file; bytes that are not UTF-8 spoil their own line only."""
        return cls(content[:LARGEST_ROBOTS].decode("utf-8-sig", "replace"))

    @classmethod
    def everything(cls) -> "Robots":
        """Of a site without the file: all may be fetched (RFC 9309, 2.3.1.3)."""
        return cls("")

    @classmethod
    def nothing(cls) -> "Robots":
        """Of a site whose file cannot be had: nothing may be fetched (RFC 9309, 2.3.1.4)."""
        return cls("User-agent: *\nDisallow: /")

    def allows(self, url: str) -> bool:
        """Whether we may fetch an address of the site."""
        return self._rules.can_fetch(url, TOKEN)

    @property
    def delay(self) -> float:
        """Seconds between requests that the site asks for; 0 where it names none."""
        return max(self._rules.crawl_delay(TOKEN) or 0.0, 0.0)

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """Addresses of sitemaps, in order."""
        return tuple(self._rules.sitemaps)


def path_matches(pattern: str, url: str) -> bool:
    """Whether a path pattern of robots.txt, with `*` and `$`, matches an address."""
    line = " ".join(pattern.split()).partition("#")[0]
    return not Protego.parse(f"User-agent: *\nDisallow: {line}").can_fetch(url, TOKEN)


def _by_token(text: str) -> str:
    """The file with the names of crawlers told apart by their whole token (RFC 9309, 2.2.1).

    protego looks for a group's name anywhere in ours: it would obey what is said to `copy`.
    """
    lines: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        found = _AGENT_LINE.fullmatch(line.partition("#")[0])
        lines.append(f"User-agent: {_group(found[1])}" if found else line)
    return "\n".join(lines)


def _group(name: str) -> str:
    if name.startswith("*"):
        return "*"
    token = _AGENT_TOKEN.match(name)
    return TOKEN if token and token[0].lower() == TOKEN else _OTHER
