"""How pages are chosen and split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from copydesk.errors import InvalidInput

_FEWEST_WORDS: Final[Mapping[str, int]] = MappingProxyType(
    {"blog": 60, "doc": 40, "product": 20, "social": 5}
)
_FEWEST_WORDS_OTHERWISE: Final = 20
LOWEST_NEAR_DUPLICATE: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateSettings:
    """Limits for single pages, likeness of pairs, and the split.

    Raises:
        InvalidInput: a value is out of its range; all such values are named at once.
    """

    heldout_share: float = 0.2
    split: Literal["time", "seed"] = "time"
    """`time` holds out the newest pages; `seed` holds out those whose hashed ids sort first."""
    seed: int = 0
    min_words: Mapping[str, int] = field(default_factory=lambda: dict(_FEWEST_WORDS))
    """Format -> fewest words. Formats not named keep their defaults (20 for unknown ones)."""
    max_bytes: int = 64 * 1024 * 1024
    """Largest source file."""
    max_record_chars: int = 200_000
    """Longest body of one page."""
    near_duplicate: float = 0.6
    """Two pages this alike or more are one page: the Jaccard likeness of their 5-word shingles.

    In a page of N words, k changed words spread apart leave a likeness of (N - 5k) / (N + 5k), so
    0.6 is one changed word in twenty: a light rewrite or the same page with another town's name.
    The 0.8 that is usual for web crawls (Lee et al. 2021, *Deduplicating Training Data Makes
    Language Models Better*) is one in forty-five, and lets such rewrites stand on both sides of
    the split, where they would be scored as if they were new.
    """
    min_heldout: int = 3
    min_train: int = 8
    keep: frozenset[str] = frozenset()
    """Ids of pages to take whatever the rules for single pages, and those for likeness, say."""
    languages: tuple[str, ...] = ()
    """ISO 639 codes. Empty: every language that a tenth of the client's pages are in."""
    contacts: Literal["flag", "scrub"] = "flag"
    """E-mail addresses, telephone numbers and accounts are counted, or replaced. A client's own
    pages may print its own; secrets are replaced whatever this says."""
    most_violations: float = 20
    """Of the client's style guide, in 1,000 words; pages of fewer than three are taken."""

    def __post_init__(self) -> None:
        wrong = [
            f"`{name}` is {value!r} and must be {rule}"
            for name, value, rule, holds in (
                (
                    "heldout_share",
                    self.heldout_share,
                    "above 0 and below 1",
                    0 < self.heldout_share < 1,
                ),
                ("split", self.split, "`time` or `seed`", self.split in ("time", "seed")),
                (
                    "near_duplicate",
                    self.near_duplicate,
                    f"from {LOWEST_NEAR_DUPLICATE} to 1",
                    LOWEST_NEAR_DUPLICATE <= self.near_duplicate <= 1,
                ),
                ("max_bytes", self.max_bytes, "at least 1", self.max_bytes >= 1),
                (
                    "max_record_chars",
                    self.max_record_chars,
                    "at least 1",
                    self.max_record_chars >= 1,
                ),
                ("min_heldout", self.min_heldout, "at least 1", self.min_heldout >= 1),
                ("min_train", self.min_train, "at least 1", self.min_train >= 1),
                (
                    "contacts",
                    self.contacts,
                    "`flag` or `scrub`",
                    self.contacts in ("flag", "scrub"),
                ),
                (
                    "most_violations",
                    self.most_violations,
                    "0 or more",
                    self.most_violations >= 0,
                ),
                (
                    "min_words",
                    dict(self.min_words),
                    "0 or more for each format",
                    all(fewest >= 0 for fewest in self.min_words.values()),
                ),
            )
            if not holds
        ]
        if wrong:
            raise InvalidInput("; ".join(wrong), where="curation settings")

    def fewest_words(self, page_format: str) -> int:
        """Fewest words that a page of this format may have."""
        default = _FEWEST_WORDS.get(page_format, _FEWEST_WORDS_OTHERWISE)
        return self.min_words.get(page_format, default)

    def heldout_count(self, documents: int) -> int:
        """How many of `documents` pages to hold out."""
        return max(self.min_heldout, round(self.heldout_share * documents))

    def fewest_documents(self) -> int:
        """Fewest pages of which both parts of the split get enough."""
        count = self.min_train + self.min_heldout
        while count - self.heldout_count(count) < self.min_train:
            count += 1
        return count
