"""robots.txt, read as RFC 9309 says: lines and groups here, paths by protego."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from protego import Protego

from copydesk.corpus.web._settings import TOKEN

LARGEST_ROBOTS: Final = 500 * 1024
"""Bytes that a crawler must read; the rest may be left (RFC 9309, 2.5)."""
_LINE: Final = re.compile(
    r"(?:(?P<agent>user[- ]?agent)|(?P<allow>allow)|(?P<delay>crawl[- ]delay)|(?P<map>site-?maps?)"
    r"|(?P<disallow>disallow|dissallow|dissalow|disalow|diasllow|disallaw))(?:\s*:|\s)(?P<value>.*)",
    re.IGNORECASE,
)
"""A line that is read. The misspellings, and a missing colon, are those that Google's parser takes
for what was meant."""
_AGENT_TOKEN: Final = re.compile(r"[A-Za-z_-]+")
_DELAY: Final = re.compile(r"\d{1,9}(?:\.\d*)?|\.\d+")
_NOT_PLAIN: Final = re.compile(r"[^\x21-\x7e]")


@dataclass(slots=True)
class _Group:
    """What is said to one name, in all of its groups together (RFC 9309, 2.2.1)."""

    named: bool = False
    rules: list[str] = field(default_factory=list[str])
    delay: float = 0.0


class Robots:
    """What a site lets us fetch."""

    def __init__(self, text: str) -> None:
        groups, sitemaps = _read(re.split(r"\r\n|\r|\n", text))
        ours = groups[TOKEN] if groups[TOKEN].named else groups["*"]
        self._rules = _matcher(ours.rules)
        self.delay = ours.delay
        """Seconds between requests that the site asks for; 0 where it names none."""
        self.sitemaps = sitemaps
        """Addresses of sitemaps, in order."""

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


def path_matches(pattern: str, url: str) -> bool:
    """Whether a path pattern of robots.txt, with `*` and `$`, matches an address."""
    return not _matcher([_rule("Disallow", pattern.partition("#")[0].strip())]).can_fetch(
        url, TOKEN
    )


def _matcher(rules: Iterable[str]) -> Protego:
    return Protego.parse("\n".join(("User-agent: *", *rules)))


def _rule(name: str, value: str) -> str:
    """A rule for protego, which would end lines at more characters than the RFC does."""
    return f"{name}: {_NOT_PLAIN.sub(lambda found: quote(found[0]), value)}"


def _read(lines: Iterable[str]) -> tuple[dict[str, _Group], tuple[str, ...]]:
    """What is said to us and to all, and the sitemaps.

    Any line but a rule leaves the names before it open: records that the RFC does not know must not
    end a group (2.2.4). A delay is for the names that are open where it stands.
    """
    groups = {TOKEN: _Group(), "*": _Group()}
    sitemaps: list[str] = []
    open_names: set[str] = set()
    ruled = False
    for line in lines:
        found = _LINE.match(line.partition("#")[0].strip())
        if not found:
            continue
        value = found["value"].strip()
        if found["map"]:
            sitemaps += [value] if value else []
        elif found["agent"]:
            open_names = set() if ruled else open_names
            ruled = False
            if name := _name(value):
                open_names.add(name)
                groups[name].named = True
        elif found["delay"]:
            if _DELAY.fullmatch(value):
                for name in open_names:
                    groups[name].delay = max(groups[name].delay, float(value))
        else:
            ruled = True
            if value:
                for name in open_names:
                    groups[name].rules.append(
                        _rule("Allow" if found["allow"] else "Disallow", value)
                    )
    return groups, tuple(sitemaps)


def _name(value: str) -> str | None:
    """Which of the names that matter a line names, by its whole token (RFC 9309, 2.2.1)."""
    if value.startswith("*"):
        return "*"
    token = _AGENT_TOKEN.match(value)
    return TOKEN if token and token[0].lower() == TOKEN else None
