"""How well a page's main text is told from the rest: our crawler over a server on this machine.

    python benchmarks/extraction.py [--pages 60]

Posts are rendered into six templates (`_templates.py`), served over HTTP and crawled by their
sitemap. Words are runs of letters and digits, case folded; F1 is over a page's words as a multiset,
then the mean over pages. A line of boilerplate leaks when it stands in the extracted text, as a
line or, of four words or more, inside one, and not in the post. `rival` is every word of the page.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _case import BRANDS, ROOT, SAMPLES, emit, posts, versions
from _templates import TEMPLATES, Built
from lxml import html
from markdown_it import MarkdownIt

from copydesk.corpus._readers import Raw
from copydesk.corpus.web import WebSettings, crawl

sys.path.insert(0, str(ROOT / "tests"))
from local_site import Site, serving

_SHORTEST = 120
"""Words of the posts that are used, at least."""


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def f1(found: str, wanted: str) -> float:
    ours, theirs = Counter(words(found)), Counter(words(wanted))
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def leaked(found: str, built: Built, wanted: str) -> list[str]:
    lines = {" ".join(words(line)) for line in found.split("\n")}
    whole, own = " ".join(words(found)), " ".join(words(wanted))
    leaks: list[str] = []
    for line in built.boilerplate:
        key = " ".join(words(line))
        inside = len(key.split()) >= 4 and key in whole
        if (key in lines or inside) and key not in own:
            leaks.append(line)
    return leaks


def sample(count: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Posts of all brands in turn, the same each time."""
    folder = BRANDS if BRANDS.is_dir() else SAMPLES
    brands = sorted(path.parent.name for path in folder.glob("*/posts.jsonl"))
    shelves = [
        [post for post in posts(brand, brand)[1] if len(words(post["body_markdown"])) >= _SHORTEST]
        for brand in brands
    ]
    mixed = [
        shelf[row] for row in range(max(map(len, shelves))) for shelf in shelves if row < len(shelf)
    ]
    return brands, mixed[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=66)
    count = parser.parse_args().pages
    brands, chosen = sample(count)
    markdown = MarkdownIt("commonmark").enable("table")
    site, built, wanted = Site(), dict[str, Built](), dict[str, str]()
    for number, post in enumerate(chosen):
        name = list(TEMPLATES)[number % len(TEMPLATES)]
        body = markdown.render(post["body_markdown"])
        date = str(post.get("date") or "2024-01-01")[:10]
        path = f"/{name}/{number}"
        built[path] = TEMPLATES[name](post["title"], date, body)
        text = html.fromstring(f"<div>{body}</div>").text_content()
        wanted[path] = f"{post['title']}\n{text}"
        site.add(path, built[path].html)
    with serving(site), tempfile.TemporaryDirectory() as folder:
        places = "".join(f"<url><loc>{site.address}{path}</loc></url>" for path in built)
        site.add("/sitemap.xml", f"<urlset>{places}</urlset>", type="application/xml")
        started = time.perf_counter()
        found = crawl(
            f"{site.address}/sitemap.xml",
            folder=Path(folder),
            settings=WebSettings(delay_seconds=0, allow_private=True),
        )
        seconds = time.perf_counter() - started
        texts = {
            record.place.path.removeprefix(
                site.address
            ): f"{record.fields['title']}\n{without_title(record)}"
            for record in found.records
            if isinstance(record, Raw)
        }
    report(brands, built, wanted, texts, seconds)


def without_title(record: Raw) -> str:
    """The text below its title, which is counted once."""
    text, title = str(record.fields["text"]), str(record.fields["title"])
    first, _, rest = text.partition("\n")
    return rest if words(first) == words(title) else text


def report(
    brands: list[str],
    built: dict[str, Built],
    wanted: dict[str, str],
    texts: dict[str, str],
    seconds: float,
) -> None:
    scores = {path: f1(texts.get(path, ""), wanted[path]) for path in built}
    leaks = {path: leaked(texts.get(path, ""), built[path], wanted[path]) for path in built}
    lines = sum(len(one.boilerplate) for one in built.values())
    every = {path: html.fromstring(one.html).text_content() for path, one in built.items()}
    by_template = {
        name: round(statistics.mean(scores[p] for p in built if p.startswith(f"/{name}/")), 4)
        for name in TEMPLATES
    }
    ours = statistics.mean(scores.values())
    rival = statistics.mean(f1(every[path], wanted[path]) for path in built)
    emit(
        {
            "benchmark": "extraction",
            "versions": versions("trafilatura", "lxml", "httpx2"),
            "texts": brands,
            "pages": len(built),
            "read": len(texts),
            "ours": {
                "word_f1": round(ours, 4),
                "word_f1_lowest": round(min(scores.values()), 4),
                "boilerplate_leak_share": round(sum(map(len, leaks.values())) / lines, 5),
                "boilerplate_lines": lines,
                "by_template": by_template,
                "leaked": dict(Counter(line for one in leaks.values() for line in one)),
            },
            "rival": {"name": "every word of the page", "word_f1": round(rival, 4)},
            "ratio": round(ours / rival, 3),
            "pages_per_second": round(len(texts) / seconds, 1),
        }
    )
    for path in sorted(scores, key=scores.__getitem__)[:5]:
        print(f"lowest: {path} {scores[path]:.3f} {leaks[path]}", file=sys.stderr)


if __name__ == "__main__":
    main()
