"""The numbers that decide what a check says, each with its reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """Where a check begins to warn, and where it says no."""

    length_tolerance: float = 0.25
    """A brief's length is an aim: up to a quarter more or less passes."""
    length_error: float = 0.25
    """How far outside the passing range is an error: a further quarter of the aim, or of the
    nearest end of the client's range. Such a draft needs writing again rather than trimming."""
    verbatim_warning: int = 12
    """Words in a row, shared with a training page, that warn. Measured on 11 brands' public pages
    (40 pages each against the same brand's others): where the brand has no standing notices, half
    of the pages share at most 8 words in a row and nine in ten share 7 to 15. A dozen is past
    names and house phrases."""
    verbatim_error: int = 25
    """Words in a row that are an error: longer than a sentence commonly is (the web convention
    is 20 words at most), so at least one whole sentence of the client's was copied out."""
    repeat_words: int = 6
    """Length of the word sequences that are counted. Shorter ones recur in good prose."""
    repeat_sentence_words: int = 3
    """Sentences shorter than this may recur."""
    repeat_times: int = 3
    """How often a sequence or sentence must stand in a draft to be called a loop. Twice can be
    meant; a draft of a few hundred words does not say six words in the same order three times."""
    repeat_error_share: float = 0.14
    """Share of the words that are such repeats, above which the draft is degenerate: the Gopher
    rules' bound for characters in duplicate 6-grams (Rae et al., 2021)."""


DEFAULT_LIMITS = CheckLimits()
