"""Whether a page is worth learning from: Gopher's and FineWeb's rules, by format.

The published thresholds were chosen for crawls of the whole web, where throwing away a good page
costs nothing. A client has forty pages, product copy is lists and fragments, and a social post is
two lines; so each format has thresholds of its own where the published one would reject good copy.
`published` keeps the original beside them, and the real brands of this project's tests measure what
ours let through.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from copydesk.corpus._signals import Signals

GOPHER: Final = "Gopher, Rae et al. 2021, A.1.1"
FINEWEB: Final = "FineWeb, Penedo et al. 2024, 3.6"
_FEWEST_LINES: Final = 8
"""Shares of fewer lines say nothing: one line in two is a half."""
_FEWEST_WORDS: Final = 100
"""The same of runs of words."""
_UNSPACED_LANGUAGES: Final = frozenset({"zh", "ja", "th", "lo", "km", "my"})


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRule:
    """One bound on one signal."""

    name: str
    value: Callable[[Signals], float]
    bound: Literal["least", "most"]
    published: float
    source: str
    by_format: Mapping[str, float] = field(default_factory=dict[str, float])
    """Format -> threshold, where the published one is not used."""
    needs: Literal["", "lines", "words", "english", "spaced"] = ""
    """What the page must have for the rule to say anything."""

    def threshold(self, page_format: str) -> float:
        """For pages of this format; unknown formats have those of `blog`."""
        return self.by_format.get(page_format, self.by_format.get("blog", self.published))

    def applies(self, signals: Signals, language: str | None) -> bool:
        """Whether the page has what the rule needs."""
        match self.needs:
            case "lines":
                return signals.lines >= _FEWEST_LINES
            case "words":
                return signals.words >= _FEWEST_WORDS
            case "english":
                return language == "en" and signals.words >= _FEWEST_WORDS
            case "spaced":
                return language not in _UNSPACED_LANGUAGES
            case _:
                return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A rule that a page does not meet."""

    rule: str
    value: float
    threshold: float
    reason: str


def _gram(kind: Literal["top", "duplicate"], n: int, published: float) -> QualityRule:
    def value(signals: Signals) -> float:
        shares = signals.top_ngrams if kind == "top" else signals.duplicate_ngrams
        return shares.get(n, 0.0)

    # Names of products and steps of instructions are repeated on purpose.
    lenient = published * 1.5
    return QualityRule(
        name=f"{kind}-{n}-grams",
        value=value,
        bound="most",
        published=published,
        source=GOPHER,
        by_format={"blog": published, "product": lenient, "landing": lenient, "doc": lenient}
        if kind == "top"
        else {"blog": 2 * published, "product": 2 * published, "doc": 3 * published},
        needs="words",
    )


RULES: Final = (
    QualityRule(
        name="words",
        value=lambda s: s.words,
        bound="most",
        published=100_000,
        source=GOPHER,
    ),
    QualityRule(
        name="mean-word-length-least",
        value=lambda s: s.mean_word_length,
        bound="least",
        published=3,
        source=GOPHER,
        by_format={"blog": 3, "product": 2.5, "social": 2, "landing": 2.5},
        needs="spaced",
    ),
    QualityRule(
        name="mean-word-length",
        value=lambda s: s.mean_word_length,
        bound="most",
        published=10,
        source=GOPHER,
        by_format={"blog": 10, "social": 14, "doc": 12},
        needs="spaced",
    ),
    QualityRule(
        name="symbols",
        value=lambda s: s.symbols_per_word,
        bound="most",
        published=0.1,
        source=GOPHER,
        by_format={"blog": 0.1, "social": 0.5, "doc": 0.2},
    ),
    QualityRule(
        name="bullet-lines",
        value=lambda s: s.bullet_lines,
        bound="most",
        published=0.9,
        source=GOPHER,
        by_format={"blog": 0.9, "product": 1, "landing": 1, "social": 1, "doc": 1},
        needs="lines",
    ),
    QualityRule(
        name="ellipsis-lines",
        value=lambda s: s.ellipsis_lines,
        bound="most",
        published=0.3,
        source=GOPHER,
        by_format={"blog": 0.3, "social": 0.6},
        needs="lines",
    ),
    QualityRule(
        name="alphabetic-words",
        value=lambda s: s.alphabetic_words,
        bound="least",
        published=0.8,
        source=GOPHER,
        by_format={"blog": 0.8, "product": 0.6, "social": 0.5, "landing": 0.6, "doc": 0.6},
    ),
    QualityRule(
        name="stop-words",
        value=lambda s: s.stop_words,
        bound="least",
        published=2,
        source=GOPHER,
        by_format={"blog": 2, "product": 0, "social": 0, "landing": 0, "doc": 1},
        needs="english",
    ),
    QualityRule(
        name="duplicate-lines",
        value=lambda s: s.duplicate_lines,
        bound="most",
        published=0.3,
        source=GOPHER,
        by_format={"blog": 0.3, "product": 0.5, "landing": 0.5, "doc": 0.5},
        needs="lines",
    ),
    QualityRule(
        name="duplicate-line-characters",
        value=lambda s: s.duplicate_line_characters,
        bound="most",
        # FineWeb has 0.01, for the menus of pages that were not extracted with care; ours were, and
        # lines that the whole site shares are gone by now.
        published=0.2,
        source=GOPHER,
        by_format={"blog": 0.2, "product": 0.4, "landing": 0.4, "doc": 0.4},
        needs="lines",
    ),
    QualityRule(
        name="punctuated-lines",
        value=lambda s: s.punctuated_lines,
        bound="least",
        published=0.12,
        source=FINEWEB,
        by_format={"blog": 0.12, "product": 0, "social": 0, "landing": 0, "doc": 0.02},
        needs="lines",
    ),
    QualityRule(
        name="short-lines",
        value=lambda s: s.short_lines,
        bound="most",
        published=0.67,
        source=FINEWEB,
        by_format={"blog": 0.8, "product": 1, "social": 1, "landing": 1, "doc": 0.95},
        needs="lines",
    ),
    QualityRule(
        name="newlines-per-word",
        value=lambda s: s.newlines_per_word,
        bound="most",
        published=0.3,
        source=FINEWEB,
        by_format={"blog": 0.5, "product": 1, "social": 1, "landing": 1, "doc": 1},
        needs="lines",
    ),
    *(_gram("top", n, most) for n, most in ((2, 0.20), (3, 0.18), (4, 0.16))),
    *(
        _gram("duplicate", n, most)
        for n, most in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    ),
)


def failures(signals: Signals, page_format: str, language: str | None) -> Iterator[Failure]:
    """Every rule that the page does not meet, in the order of `RULES`.

    Args:
        signals: of the page.
        page_format: its format; unknown ones are judged as `blog`.
        language: ISO 639 code, where it was recognised.
    """
    for rule in RULES:
        if not rule.applies(signals, language):
            continue
        value, threshold = rule.value(signals), rule.threshold(page_format)
        if value > threshold if rule.bound == "most" else value < threshold:
            yield Failure(
                rule=rule.name,
                value=round(float(value), 4),
                threshold=threshold,
                reason=f"Its {rule.name.replace('-', ' ')} are {value:.4g}; a {page_format} page "
                f"has at {rule.bound} {threshold:g} (after {rule.source}).",
            )
