"""The brief's search phrase: is it where readers of a results page look first?"""

import itertools
import re
from collections.abc import Iterator, Sequence

from copydesk.content._folding import Folded, Word, fold_words
from copydesk.content._sentences import first_paragraph
from copydesk.records import Finding

_SOURCE = "convention: YoastSEO SCORING SEO.md"
_SENTENCE_BREAK = re.compile(r"[.!?\u2026]\s|\n[ \t]*\n")


def keyword_findings(folded: Folded, *, title: str | None, keyword: str) -> Iterator[Finding]:
    """What is missing of the keyword in the title and in the first paragraph."""
    wanted = fold_words(keyword)
    if not wanted:
        return
    if title is not None and not _has_phrase(Folded(title), wanted):
        yield _finding(
            "keyword-in-title",
            (0, 0),
            f'The title does not have "{keyword}". Put it in, as near the start as reads well.',
        )
    paragraph = first_paragraph(folded.original)
    if paragraph and not _has_phrase(folded, wanted, within=paragraph):
        yield _finding(
            "keyword-in-first-paragraph",
            paragraph,
            f'The first paragraph does not have "{keyword}". Say it there once, in a sentence.',
        )


def _finding(rule: str, span: tuple[int, int], message: str) -> Finding:
    return Finding(
        family="search",
        rule=rule,
        severity="warning",
        start=span[0],
        end=span[1],
        message=message,
        source=_SOURCE,
    )


def _has_phrase(
    folded: Folded, wanted: Sequence[str], *, within: tuple[int, int] | None = None
) -> bool:
    """Whether the words stand in order inside one sentence; singular and plural are the same."""
    start, end = within or (0, len(folded.original))
    words = [word for word in folded.words() if start <= word.start and word.end <= end]
    targets = [_forms(word) for word in wanted]
    return any(
        all(not targets[i].isdisjoint(_forms(words[at + i].text)) for i in range(len(targets)))
        and not _broken(folded.original, words[at : at + len(targets)])
        for at in range(len(words) - len(targets) + 1)
    )


def _broken(text: str, words: Sequence[Word]) -> bool:
    """Whether a sentence ends between the words."""
    pairs = itertools.pairwise(words)
    return any(_SENTENCE_BREAK.search(text[left.end : right.start]) for left, right in pairs)


def _forms(word: str) -> set[str]:
    """The word and its simple singulars: pots, boxes, berries, the cart's."""
    word = word.removesuffix("'s").removesuffix("'")
    forms = {word}
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        forms.add(word[:-1])
        if word.endswith("es"):
            forms.add(word[:-2])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
    return forms
