"""How a site is read: how much, how fast, how long."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from copydesk.errors import InvalidInput

TOKEN: Final = "copydesk"
"""The product token that robots.txt knows us by (RFC 9309, 2.2.1)."""
LEAST_DELAY: Final = 1.0
LONGEST_URL: Final = 2000


def user_agent() -> str:
    """Who asks, in every request: the product and its version, and no browser's name."""
    return f"{TOKEN}/{version('copydesk')} (reads sites for training; obeys robots.txt as {TOKEN})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Limits of a crawl.

    Raises:
        InvalidInput: a value is out of its range; all such values are named at once.
    """

    max_pages: int = 500
    """Most pages that are fetched in one crawl."""
    max_page_bytes: int = 5 * 1024 * 1024
    """Largest page, unpacked."""
    max_sitemap_bytes: int = 50 * 1024 * 1024
    """Largest sitemap, feed or list of posts, unpacked: the limit of sitemaps.org."""
    max_sitemaps: int = 50
    """Most sitemaps that are read, of all the indexes together."""
    max_depth: int = 8
    """Most links from the first page to one that is fetched."""
    delay_seconds: float = LEAST_DELAY
    """From the end of one answer to the next question; a longer Crawl-delay is obeyed."""
    longest_delay_seconds: float = 300
    """A site whose Crawl-delay is longer is left alone."""
    timeout_seconds: float = 30
    """Of one request, from looking up the name to the last byte."""
    longest_wait_seconds: float = 120
    """Longest Retry-After that is waited for."""
    retries: int = 2
    """How often a request is repeated that met 429, 5xx or a broken connection."""
    max_redirects: int = 5
    """RFC 9309 names five for robots.txt."""
    allow_private: bool = False
    """Whether addresses of this machine and of private networks may be asked."""

    def __post_init__(self) -> None:
        counts = ("max_pages", "max_page_bytes", "max_sitemap_bytes", "max_sitemaps")
        times = ("delay_seconds", "longest_wait_seconds", "retries", "max_redirects", "max_depth")
        wrong = [
            *(f"`{name}` must be at least 1" for name in counts if getattr(self, name) < 1),
            *(f"`{name}` must be 0 or more" for name in times if getattr(self, name) < 0),
        ]
        if self.timeout_seconds <= 0:
            wrong.append("`timeout_seconds` must be above 0")
        if wrong:
            raise InvalidInput("; ".join(wrong), where="settings of a crawl")


def is_address(source: str) -> bool:
    """Whether a source is an address of the web rather than a file."""
    return re.match(r"https?://", source, re.IGNORECASE) is not None
