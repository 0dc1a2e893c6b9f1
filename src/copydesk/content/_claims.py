"""What a draft claims, and which fact of the brief stands behind each claim.

Claims are found by their form: figures, dates, names, superlatives, and statements on health, law
and money. A fact supports a claim when it has the same figure with the same unit, the same name or
the same word of the statement, and shares the sentence's subject. This is judgement by rules: it
finds what a fact-checker would mark, and `benchmarks/checks_labelled.py` says how often.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from copydesk.content._claim_words import (
    LEGAL,
    MEDICAL,
    MONEY,
    NAMES_TO_PASS,
    NUMBER_WORDS,
    SUPERLATIVE,
    UNIT_SPELLINGS,
    UNITS,
)
from copydesk.content._folding import fold, fold_words
from copydesk.content._phrases import content_words, share_of_words, word_forms
from copydesk.content._subject import Span, Subject
from copydesk.records import Brief, Finding

ClaimKind = Literal["number", "date", "name", "superlative", "medical", "legal", "money"]

_MONTHS: Final = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH: Final = "|".join(f"{m[:3]}(?:{m[3:]})?" for m in _MONTHS if m != "may") + "|may"
_DATE: Final = re.compile(
    rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTH})\b(?:,?\s+\d{{4}})?"
    rf"|(?:{_MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?!\s*(?:%|[a-z]))(?:,?\s+\d{{4}})?"
    rf"|(?:{_MONTH})\s+\d{{4}}|(?:19|20)\d\d(?=[^\w.,]|[.,](?!\d)|$)(?!\s*(?:{UNITS})\b)"
    rf"|\d{{4}}-\d\d-\d\d)",
    re.IGNORECASE,
)
_FIGURE: Final = r"\d{1,3}(?:[,\u00a0\u202f ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_NUMBER: Final = re.compile(
    rf"(?<![\w.])(?P<money>[$\u20ac\u00a3]\s?)?(?P<figure>{_FIGURE})"
    rf"(?:\s?(?P<unit>%|\u00b0\s?[CF]?|[$\u20ac\u00a3]|(?:{UNITS})\b))?(?![\w])",
    re.IGNORECASE,
)
_SPELLED: Final = re.compile(
    rf"\b(?P<figure>{'|'.join(NUMBER_WORDS)})(?:[ -](?P<unit>(?:{UNITS})|\w+)\b)?", re.IGNORECASE
)
_LIST_NUMBER: Final = re.compile(r"(?:^|\n)[ \t]*$")
_NAME: Final = re.compile(
    r"(?<![\w'\u2019])(?:[A-Z][\w'\u2019-]*[a-z][\w'\u2019-]*)(?:[ \t]+(?:of[ \t]+|the[ \t]+"
    r"|de[ \t]+|von[ \t]+)?"
    r"[A-Z][\w'\u2019-]*[a-z][\w'\u2019-]*)*"
)
_OPENS: Final = re.compile(
    r"(?:^|[.!?:\u2026\n>*#|\-(\"\u201c\u2018'\u2019]|\d\.)\s*[\"\u201c\u2018(*_]*$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of a draft."""

    kind: ClaimKind
    start: int
    end: int
    text: str
    fact: str | None
    """The brief's fact, point or detail that supports it."""


@dataclass(frozen=True, slots=True)
class _Ground:
    """A statement of the brief: what may support a claim."""

    text: str
    folded: str
    words: frozenset[str]
    figures: frozenset[tuple[float, str]]


def claims_findings(subject: Subject) -> Iterator[Finding]:
    """Each claim, as supported by a fact or in need of a source; and what the brief bans."""
    if subject.brief is None:
        return
    yield from _banned(subject, subject.brief)
    supported = subject.rule("claims/supported")
    for claim in find_claims(subject, subject.brief):
        span = (claim.start, claim.end)
        rule = subject.rule(f"claims/{claim.kind}")
        if claim.fact is None and rule:
            message = f'Needs source: no fact of the brief supports "{claim.text}".'
            yield subject.finding(rule, span, message)
        elif claim.fact is not None and supported:
            message = f'"{claim.text}" rests on the brief: {claim.fact}'
            yield subject.finding(supported, span, message, fact=claim.fact)


def find_claims(subject: Subject, brief: Brief) -> tuple[Claim, ...]:
    """The claims of a draft in its order, each with the fact behind it.

    Args:
        subject: the draft.
        brief: its title, points, facts, experience and price are what it may state.
    """
    grounds = [_ground(text) for text in _statements(brief)]
    allowed = fold(" ".join([*_statements(brief), *subject.guide.prefer.values()]))
    claims: list[Claim] = []
    for span in [*subject.sentences]:
        claims.extend(_in_sentence(subject.prose, span, grounds, allowed))
    return tuple(sorted(claims, key=lambda claim: (claim.start, claim.end)))


def _statements(brief: Brief) -> list[str]:
    priced = f"{brief.price} {brief.currency or ''} price costs" if brief.price else ""
    return [
        text
        for text in (
            *(fact.text for fact in brief.facts),
            *brief.points,
            *brief.experience,
            brief.title,
            brief.keyword or "",
            *brief.keywords,
            brief.author or "",
            brief.call_to_action or "",
            *(link.text for link in brief.links),
            *(fact.source or "" for fact in brief.facts),
            priced,
        )
        if text
    ]


@lru_cache(maxsize=2048)
def _ground(text: str) -> _Ground:
    words: set[str] = set()
    for word in content_words(text):
        words |= word_forms(word)
    figures = {_value(m) for m in (*_NUMBER.finditer(text), *_SPELLED.finditer(text))}
    return _Ground(text, fold(text), frozenset(words), frozenset(figures))


def _in_sentence(
    prose: str, span: Span, grounds: Sequence[_Ground], allowed: str
) -> Iterator[Claim]:
    sentence = prose[slice(*span)]
    words: set[str] = set()
    for word in content_words(sentence):
        words |= word_forms(word)
    taken: list[Span] = []
    for kind, pattern in (("medical", MEDICAL), ("legal", LEGAL), ("money", MONEY)):
        for match in pattern.finditer(prose, *span):
            fact = _stated(match.group(), words, grounds)
            yield _claim(kind, match.span(), match.group(), fact)
    for match in _DATE.finditer(prose, *span):
        taken.append(match.span())
        fact = next((g.text for g in grounds if _has_date(g, match.group())), None)
        yield _claim("date", match.span(), match.group(), fact)
    for match in (*_NUMBER.finditer(prose, *span), *_SPELLED.finditer(prose, *span)):
        if _is_figure(prose, match) and not any(a <= match.start() < b for a, b in taken):
            is_money = bool(match.groupdict().get("money")) or _value(match)[1] in "$\u20ac\u00a3"
            kind = "money" if is_money and _value(match)[1] else "number"
            yield _claim(kind, match.span(), match.group(), _counted(match, words, grounds))
    for match in SUPERLATIVE.finditer(prose, *span):
        yield _claim(
            "superlative", match.span(), match.group(), _stated(match.group(), words, grounds)
        )
    yield from _names(prose, span, grounds, allowed, taken)


def _claim(kind: str, span: Span, text: str, fact: str | None) -> Claim:
    kinds: dict[str, ClaimKind] = {
        "number": "number", "date": "date", "name": "name", "superlative": "superlative",
        "medical": "medical", "legal": "legal", "money": "money",
    }  # fmt: skip
    shown = " ".join(text.split())
    return Claim(kind=kinds[kind], start=span[0], end=span[1], text=shown, fact=fact)


def _value(match: re.Match[str]) -> tuple[float, str]:
    """A figure and its unit in one spelling: (1500.0, 'g'); no unit is ''."""
    figure = match.group("figure").lower()
    number = NUMBER_WORDS.get(figure)
    value = float(re.sub(r"[,\u00a0\u202f ]", "", figure)) if number is None else float(number)
    currency = (match.groupdict().get("money") or "").strip()
    unit = currency or (match.group("unit") or "").strip().lower()
    return value, _unit(unit)


def _unit(unit: str) -> str:
    """A unit in the spelling that others are compared with."""
    bare = unit[:-1] if len(unit) > 3 and unit.endswith("s") else unit
    return UNIT_SPELLINGS.get(unit) or UNIT_SPELLINGS.get(bare, bare)


def _is_figure(prose: str, match: re.Match[str]) -> bool:
    """Whether a number states something: not a list's number, not `one of them`."""
    before = prose[max(0, match.start() - 24) : match.start()]
    after = prose[match.end() : match.end() + 2]
    if _LIST_NUMBER.search(before) and after[:1] in (".", ")"):
        return False
    figure = match.group("figure").lower()
    if figure in NUMBER_WORDS:
        # `one`, and small numbers without a unit, are how anybody speaks.
        unit = (match.group("unit") or "").lower()
        counted = re.fullmatch(UNITS, unit, re.IGNORECASE) is not None
        return (NUMBER_WORDS[figure] > 3 and bool(unit)) or (counted and figure != "one")
    return not re.search(r"\b(?:step|part|page|no\.?|chapter|figure|section)\s*$", before, re.I)


def _counted(match: re.Match[str], words: set[str], grounds: Sequence[_Ground]) -> str | None:
    """The statement that has the figure with its unit; without a unit, and the same subject."""
    value, unit = _value(match)
    known = re.fullmatch(rf"%|\u00b0c?f?|[$\u20ac\u00a3]|{UNITS}", unit, re.IGNORECASE) is not None
    for ground in grounds:
        for other, other_unit in ground.figures:
            if other != value:
                continue
            other_known = re.fullmatch(
                rf"%|\u00b0c?f?|[$\u20ac\u00a3]|{UNITS}", other_unit, re.IGNORECASE
            )
            if known and other_known:
                if unit == other_unit:
                    return ground.text
            elif words & ground.words or (unit and unit == other_unit):
                return ground.text
    return None


def _stated(found: str, words: set[str], grounds: Sequence[_Ground]) -> str | None:
    """The statement that has the telling words too, and of the sentence's subject at least one."""
    telling = [word for word in fold_words(found) if word not in ("the", "a", "is", "are", "our")]
    stems = [_stem(word) for word in telling]
    for ground in grounds:
        held = {_stem(word) for word in fold_words(ground.text)}
        if all(stem in held for stem in stems) and words & ground.words:
            return ground.text
    return None


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s", "d"):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > 4 else word


def _has_date(ground: _Ground, date: str) -> bool:
    """Whether a statement has all parts of a date: day, month by its first letters, year."""
    parts = re.findall(r"\d+|[a-z]+", re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", date.lower()))
    held = re.findall(r"\d+|[a-z]+", re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", ground.folded))
    heads = {part[:3] if part.isalpha() else part.lstrip("0") for part in held}
    wanted = [p[:3] if p.isalpha() else p.lstrip("0") for p in parts if p not in ("of", "the")]
    return all(part in heads for part in wanted)


def _names(
    prose: str, span: Span, grounds: Sequence[_Ground], allowed: str, taken: Sequence[Span]
) -> Iterator[Claim]:
    for match in _NAME.finditer(prose, *span):
        if any(a <= match.start() < b for a, b in taken):
            continue
        start, words = match.start(), match.group().split()
        if _OPENS.search(prose[max(0, start - 6) : start]):
            # The first word of a sentence has its capital anyhow.
            if len(words) == 1 or words[0].lower() in NAMES_TO_PASS:
                start += len(words[0])
                words = words[1:]
            while start < match.end() and not prose[start].isalnum():
                start += 1
        found = prose[start : match.end()]
        telling = [
            word
            for word in fold_words(found)
            if word.removesuffix("'s") not in NAMES_TO_PASS and len(word) > 2
        ]
        if not words or not telling:
            continue
        if all(_in(allowed, word) for word in telling):
            fact = next((g.text for g in grounds if _in(g.folded, telling[-1])), None)
            if fact is not None:
                yield _claim("name", (start, match.end()), found, fact)
        else:
            yield _claim("name", (start, match.end()), found, None)


def _in(folded: str, word: str) -> bool:
    return (
        re.search(rf"(?<!\w){re.escape(word.removesuffix(chr(39) + 's'))}(?!\w)", folded)
        is not None
    )


def _banned(subject: Subject, brief: Brief) -> Iterator[Finding]:
    rule = subject.rule("claims/banned")
    for claim in brief.banned_claims if rule else ():
        for start, end in subject.sentences:
            sentence = subject.prose[start:end]
            if rule and share_of_words(sentence, claim) >= rule.number("least_share"):
                message = f'The brief bans the claim "{claim}". Take the sentence out.'
                yield subject.finding(rule, (start, end), message)
