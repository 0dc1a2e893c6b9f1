"""Finding a search phrase in text as a reader would: inside one sentence, singular or plural."""

import itertools
import re
from collections.abc import Sequence

from copydesk.content._folding import Folded, Word, fold_words

_SENTENCE_BREAK = re.compile(r"[.!?\u2026]\s|\n[ \t]*\n")
_COMMON = """
a an and are as at be but by can do for from has have how i if in into is it its my of off on or
our so than that the their them then there these they this those to up us was we were what when
where which who why will with you your
"""
_FUNCTION_WORDS = frozenset(_COMMON.split())


def content_words(text: str) -> list[str]:
    """Folded words without articles, prepositions, pronouns and auxiliaries."""
    return [word for word in fold_words(text) if word not in _FUNCTION_WORDS]


def phrase_places(folded: Folded, words: Sequence[Word], phrase: str) -> list[tuple[int, int]]:
    """Spans where the phrase's words stand in order inside one sentence.

    Args:
        folded: the text.
        words: its words, all of them or a stretch.
        phrase: what to look for; singular and plural are the same.
    """
    wanted = fold_words(phrase)
    targets = [word_forms(word) for word in wanted]
    if not targets:
        return []
    found: list[tuple[int, int]] = []
    at = 0
    while at <= len(words) - len(targets):
        stretch = words[at : at + len(targets)]
        same = all(
            not target.isdisjoint(word_forms(word.text))
            for target, word in zip(targets, stretch, strict=True)
        )
        if same and not _broken(folded.original, stretch):
            found.append((stretch[0].start, stretch[-1].end))
            at += len(targets)
        else:
            at += 1
    return found


def has_phrase(text: str, phrase: str) -> bool:
    """Whether a short text has the phrase."""
    folded = Folded(text)
    return bool(phrase_places(folded, folded.words(), phrase))


def share_of_words(text: str, phrase: str) -> float:
    """Share of the phrase's content words that the text has, 0 to 1; of all words if it has "
    "none."""
    wanted = content_words(phrase) or fold_words(phrase)
    held: set[str] = set()
    for word in fold_words(text):
        held |= word_forms(word)
    return sum(not word_forms(word).isdisjoint(held) for word in wanted) / max(1, len(wanted))


def word_forms(word: str) -> frozenset[str]:
    """The word and its simple singulars: pots, boxes, berries, the cart's."""
    word = word.removesuffix("'s").removesuffix("'")
    forms = {word}
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        forms.add(word[:-1])
        if word.endswith("es"):
            forms.add(word[:-2])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
    return frozenset(forms)


def _broken(text: str, words: Sequence[Word]) -> bool:
    """Whether a sentence ends between the words."""
    pairs = itertools.pairwise(words)
    return any(_SENTENCE_BREAK.search(text[left.end : right.start]) for left, right in pairs)
