"""Lines that recur on a site's pages: menus, banners, calls to subscribe."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from copydesk.corpus._kernels import load_kernels
from copydesk.corpus._signals import Hashes, line_hashes
from copydesk.records import Document

FEWEST_PAGES: Final = 8
"""A site of fewer pages has no lines that recur; any two of its pages may share one."""
SHARE: Final = 0.4
"""A line on four pages in ten is the template's. A writer's own refrain is rarer (on eleven real
brands the most frequent one stands on 35% of the pages); headings such as `## Ingredients` are as
frequent but are the page's structure, and stay."""
_LONGEST: Final = 400


def site_of(document: Document) -> str:
    """The host of its address, or its client for pages without one."""
    return site_name(document.url, document.client)


def site_name(url: str | None, client: str) -> str:
    """The same, of the two fields that tell it."""
    try:
        host = urlsplit(url).hostname if url else None
    except ValueError:  # what is no address names no host
        host = None
    return (host or client).removeprefix("www.")


def shared_lines(text: str) -> tuple[Hashes, list[int]]:
    """The lines that may be a template's, of prose and not headings: (hashes, numbers from 0).

    Raises:
        UnicodeEncodeError: the text holds half of a surrogate pair.
    """
    kernels = load_kernels()
    if kernels is not None:
        return kernels.lines(text)
    lines = text.split("\n")
    numbers = [number for number, line in enumerate(lines) if _may_recur(line)]
    return line_hashes([lines[number] for number in numbers]), numbers


def _may_recur(line: str) -> bool:
    return 12 <= len(line) <= _LONGEST and line[0] not in "#`|" and " " in line.strip()


def least_pages(pages: int) -> int:
    """On how many of a site's pages a line must stand to be the template's."""
    return max(4, -(-int(1000 * SHARE) * pages // 1000))


def recurring_lines(documents: Iterable[Document]) -> Mapping[str, frozenset[int]]:
    """Site -> hashes of the lines that at least four of its pages in ten have."""
    pages: Counter[str] = Counter()
    seen: dict[str, Counter[int]] = {}
    for document in documents:
        site = site_of(document)
        pages[site] += 1
        hashes = set(shared_lines(document.text)[0].tolist())
        seen.setdefault(site, Counter()).update(hashes)
    return {
        site: frozenset(line for line, count in lines.items() if count >= least_pages(pages[site]))
        for site, lines in seen.items()
        if pages[site] >= FEWEST_PAGES
    }


def without_lines(text: str, recurring: frozenset[int]) -> str:
    """`text` without the lines of these hashes, and without the blank lines that they leave."""
    if not recurring:
        return text
    hashes, numbers = shared_lines(text)
    gone = {
        number for number, line in zip(numbers, hashes.tolist(), strict=True) if line in recurring
    }
    if not gone:
        return text
    kept: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if number not in gone and (line or (kept and kept[-1])):
            kept.append(line)
    return "\n".join(kept).strip()
