"""How easily a draft is read: lengths, passives, openers, links between sentences, Flesch."""

import re
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Final

from copydesk.content._subject import WHOLE, Subject
from copydesk.records import Finding

_PARTICIPLES: Final = (
    "been begun bitten blown born bought bound broken brought built burnt caught chosen cut "
    "done drawn "
    "driven eaten fed felt forgotten fought found frozen given gone grown heard held hidden "
    "hit hung "
    "hurt kept known laid led left lent lit lost made meant met paid put read ridden run said seen "
    "sent set sewn shaken shot shown shut sold sown spent split spoken spread stolen struck "
    "stuck sung "
    "swept sworn taken taught told thrown torn understood woken won worn wound written"
)
# Forms of "be" or "get", at most two words, then a participle.
_PASSIVE: Final = re.compile(
    r"\b(?:am|is|are|was|were|be|been|being|get|gets|got|getting)\s+(?:(?:not|never|also"
    r"|often|then|"
    r"always|still|now|only|\w+ly)\s+){0,2}(?:\w{2,}ed|" + "|".join(_PARTICIPLES.split()) + r")\b",
    re.IGNORECASE,
)
# Words in -ed that are no participles, and participles that are used as adjectives.
_NOT_PASSIVE: Final = re.compile(
    r"\b(?:need|speed|seed|feed|indeed|hundred|red|bed|shed|tired|excited|interested|pleased"
    r"|worried|"
    r"delighted|supposed|naked|wicked|sacred)$",
    re.IGNORECASE,
)
_TRANSITIONS: Final = re.compile(
    r"\b(?:also|although|because|before|besides|but|consequently|despite|even so|finally|first|"
    r"for example|for instance|however|if|in addition|in fact|in short|instead|later|likewise|"
    r"meanwhile|moreover|nevertheless|next|on the other hand|once|or else|otherwise|rather|second|"
    r"similarly|since|so|soon|still|such as|that is why|then|therefore|third|though|thus|unless|"
    r"until|when|whereas|while|yet)\b",
    re.IGNORECASE,
)
_VOWELS: Final = re.compile(r"[aeiouy]+")
_SILENT: Final = re.compile(r"(?:[^laeiouy]es|[^dt]ed|[^l\W]e)$")


def readability_findings(subject: Subject) -> Iterator[Finding]:
    """What makes a draft hard to read, by the conventions of on-page plug-ins."""
    yield from _paragraphs(subject)
    yield from _stretches(subject)
    lengths = [len(subject.words_in(span)) for span in subject.sentences]
    rule = subject.rule("readability/long-sentences")
    if rule and len(lengths) >= rule.number("least_sentences"):
        share = sum(length > rule.number("words") for length in lengths) / len(lengths)
        if share > rule.number("most_share"):
            message = (
                f"{share:.0%} of the sentences have more than {rule.number('words'):.0f} words;"
                f" the convention is {rule.number('most_share'):.0%} at most. Cut some in two."
            )
            yield subject.finding(rule, WHOLE, message)
    if subject.is_english:
        yield from _openers(subject)
        yield from _shares(subject)
        yield from _flesch(subject, lengths)


def _paragraphs(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("readability/long-paragraph")
    for span in subject.paragraphs if rule else ():
        count = len(subject.words_in(span))
        most = rule.number("most_product" if subject.format == "product" else "most") if rule else 0
        if rule and count > most:
            message = f"The paragraph has {count} words; above {most:.0f} readers skip. Cut it."
            yield subject.finding(rule, span, message)


def _stretches(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("readability/subheadings")
    edges = [0, *(heading.start for heading in subject.headings), len(subject.text)]
    for start, end in pairwise(edges) if rule else ():
        count = len(subject.words_in((start, end)))
        if rule and count > rule.number("most"):
            message = (
                f"{count} words without a subheading; the convention is {rule.number('most'):.0f}"
                " at most. Set one where the subject turns."
            )
            yield subject.finding(rule, (start, start), message)


def _openers(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("readability/same-opener")
    if rule is None:
        return
    opened = [(words[0], span) for span in subject.sentences if (words := subject.words_in(span))]
    for opener, group in groupby(opened, key=lambda pair: pair[0]):
        spans = [span for _, span in group]
        # Items of a list may start alike, and so may figures.
        listed = subject.text[spans[0][0]] in "-*+" or opener.isdigit()
        if len(spans) > rule.number("most") and not listed:
            message = f'{len(spans)} sentences in a row start with "{opener}". Vary them.'
            yield subject.finding(rule, (spans[0][0], spans[-1][1]), message)


def _shares(subject: Subject) -> Iterator[Finding]:
    total = len(subject.sentences)
    rule = subject.rule("readability/passive")
    if rule and total >= rule.number("least_sentences"):
        passive = [span for span in subject.sentences if is_passive(subject.prose[slice(*span)])]
        if len(passive) / total > rule.number("most_share"):
            message = (
                f"{len(passive) / total:.0%} of the sentences are passive; the convention is"
                f" {rule.number('most_share'):.0%} at most. Say who does it."
            )
            yield subject.finding(rule, passive[0], message)
    rule = subject.rule("readability/transitions")
    if rule and total >= rule.number("least_sentences"):
        linked = sum(
            _TRANSITIONS.search(subject.prose, *span) is not None for span in subject.sentences
        )
        if linked / total < rule.number("least_share"):
            message = (
                f"{linked / total:.0%} of the sentences have a word that links them to another;"
                f" the convention is {rule.number('least_share'):.0%}."
            )
            yield subject.finding(rule, WHOLE, message)


def _flesch(subject: Subject, lengths: list[int]) -> Iterator[Finding]:
    rule = subject.rule("readability/flesch")
    words = [word for span in subject.sentences for word in subject.words_in(span)]
    if rule is None or len(words) < rule.number("least_words"):
        return
    score = reading_ease(words, sentences=len(lengths))
    if score < rule.number("least"):
        message = (
            f"Flesch reading ease is {score:.0f}; the convention is {rule.number('least'):.0f} or"
            " more. Shorter words and sentences raise it."
        )
        yield subject.finding(rule, WHOLE, message)


def is_passive(sentence: str) -> bool:
    """Whether an English sentence has a form of `be` or `get` with a past participle."""
    return any(not _NOT_PASSIVE.search(match.group()) for match in _PASSIVE.finditer(sentence))


def reading_ease(words: list[str], *, sentences: int) -> float:
    """Flesch's reading ease: 206.835 - 1.015 words/sentence - 84.6 syllables/word (Flesch, 1948).

    Args:
        words: folded, at least one.
        sentences: at least one.
    """
    count = sum(map(syllables, words))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * count / len(words)


def syllables(word: str) -> int:
    """Syllables of an English word, counted as groups of vowels without a silent e.

    Right for nine words in ten, and its errors go both ways, which a mean over a page evens out.
    """
    word = re.sub(r"[^a-z]", "", word.lower())
    groups = len(_VOWELS.findall(word))
    if len(word) > 3 and _SILENT.search(word):
        groups -= 1
    # Neighbouring vowels that are spoken apart: i-o in "radio", but not in "nation" or "special".
    apart = re.search(r"(?<![cgst])i[ao](?!n$|ns$|u)", word) is not None
    return max(1, groups + apart)
