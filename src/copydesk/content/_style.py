"""The client's style guide: words never to use, terms with a better one, and its own rules."""

import re
from collections.abc import Iterator

from copydesk.content._case import in_sentence_case, in_title_case
from copydesk.content._folding import UNSPACED, Folded, fold
from copydesk.content._rules import Rule
from copydesk.content._subject import WHOLE, Span, Subject
from copydesk.content._vale_findings import vale_findings
from copydesk.records import Finding

# Space, emphasis, a hyphen or one line break may stand between the words of a phrase.
_GAP = r"(?:[ \t*_~-]|\n(?![ \t]*\n))+"
_SPACED_LETTER = re.compile(rf"[^\W_{UNSPACED}]")
_NOT_AFTER_LETTER = r"(?<![^\W_])(?<![^\W_]')"
# "hack" is in "hack's" but "don" is not in "don't".
_NOT_BEFORE_LETTER = r"(?![^\W_]|[\u0300-\u036f]|'(?!s(?![^\W_]))[^\W_])"

# A list of three or more: words and commas, then the last with its conjunction.
_ITEM = r"[\w'\u2019-]+(?:[ \t]+[\w'\u2019-]+){0,3}?"
_SERIES = re.compile(rf"({_ITEM}),[ \t]+({_ITEM})(,?)[ \t]+(and|or)[ \t]+(?=\w)")
# Openers and verbs that make two clauses of what looks like a list.
_CLAUSE_WORDS = """
however meanwhile then so but still yet also yes no well if when while because although since
after before as for in on at by with from this these there that which who it he she they we i
you is are was were has have had do does did will would can could should may might must
"""
_NOT_A_LIST = frozenset(_CLAUSE_WORDS.split())
_CONTRACTION = re.compile(
    r"\b(?:\w+n['\u2019]t|(?:i|you|we|they|he|she|it|that|there|what|who|let)"
    r"['\u2019](?:m|re|ve|ll|d|s))\b",
    re.IGNORECASE,
)
_UNCONTRACTED = re.compile(
    r"\b(?:(?:do|does|did|is|are|was|were|has|have|had|would|could|should)[ \t]+not|cannot"
    r"|can[ \t]+not"
    r"|will[ \t]+not|(?:it|that|there|he|she|what)[ \t]+is|(?:you|we|they)[ \t]+(?:are|have|will)"
    r"|i[ \t]+(?:am|have|will)|let[ \t]+us)\b(?![ \t]+only\b)",
    re.IGNORECASE,
)
_PERSONS = {
    "i": re.compile(r"\b(?:I|me|my|mine|myself)\b(?!\.)|\b[Mm]y\b"),
    "we": re.compile(r"\b(?:we|us|our|ours|ourselves)\b", re.IGNORECASE),
    "you": re.compile(r"\b(?:you|your|yours|yourself|yourselves)\b", re.IGNORECASE),
}
_UNITS = (
    r"(?:[ \t\u00a0]?(?:%|\u00b0|[kcm]?m\b|[km]?g\b|m?l\b|k?W\b|[KMGT]B\b|[ap]\.?m\b|x\b"
    r"|st\b|nd\b|rd\b"
    r"|th\b|cm\b|mm\b|kg\b|\u20ac|\$|percent\b|per[ \t]cent\b|pixels?\b|degrees?\b|lit(?:er|re)s?\b"
    r"|hours?\b|minutes?\b|miles?\b|kilometres?\b|met(?:er|re)s?\b|inch(?:es)?\b|out[ \t]of\b))"
)
_DIGITS = re.compile(
    rf"(?<![\w.,:/$\u20ac\u00a3#@+-])(\d+)(?![\w]|[.,:/-]\d|{_UNITS})(?![ \t]*[\u2013-][ \t]*\d)"
)
_MONTH = re.compile(
    r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sep|Oct|Nov|Dec)\w*\.?[ \t]*$|"
    r"\b(?:no|page|chapter|step|figure|version|part|section|table|room)\.?[ \t]*$",
    re.IGNORECASE,
)
_AFTER_DAY = re.compile(r"^[ \t]+(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)")
_NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty
"""
_NUMBER_WORDS = {word: value for value, word in enumerate(_NUMBERS.split())}
_SPELLED = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b(?!-)", re.IGNORECASE)


def style_findings(subject: Subject) -> Iterator[Finding]:
    """What the client's guide has against the draft, one finding for each place."""
    yield from _banned(subject)
    yield from _preferred(subject)
    for rule, check in (
        (subject.rule("style/exclamation-marks"), _exclamation_marks),
        (subject.rule("style/sentence-length"), _sentence_length),
        (subject.rule("style/heading-case"), _heading_case),
    ):
        if rule is not None:
            yield from check(subject, rule)
    if subject.is_english:
        for rule, check in (
            (subject.rule("style/oxford-comma"), _oxford_comma),
            (subject.rule("style/contractions"), _contractions),
            (subject.rule("style/person"), _person),
            (subject.rule("style/numbers"), _numbers),
        ):
            if rule is not None:
                yield from check(subject, rule)
    yield from vale_findings(subject)


def _banned(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("style/banned-word")
    if rule is None:
        return
    todo = "The client's guide bans it: write it another way."
    for entry in _distinct(subject.guide.banned):
        for span in places(subject.folded, entry):
            used = " ".join(subject.text[slice(*span)].split())
            yield subject.finding(rule, span, f'"{used}" is not to be used. {todo}')
        if subject.title and places(Folded(subject.title), entry):
            yield subject.finding(rule, WHOLE, f'The title has "{entry}". {todo}')


def _preferred(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("style/preferred-term")
    if rule is None:
        return
    for avoided, wanted in subject.guide.prefer.items():
        for span in _misplaced(subject.folded, avoided, wanted):
            used = " ".join(subject.text[slice(*span)].split())
            yield subject.finding(rule, span, f'Instead of "{used}" use: {wanted}.')
        if subject.title and _misplaced(Folded(subject.title), avoided, wanted):
            message = f'The title has "{avoided}". Use instead: {wanted}.'
            yield subject.finding(rule, WHOLE, message)


def _oxford_comma(subject: Subject, rule: Rule) -> Iterator[Finding]:
    use = rule.text("use")
    for match in _SERIES.finditer(subject.prose) if use else ():
        first, second, comma, conjunction = match.groups()
        words = {*first.lower().split(), *second.lower().split()}
        # `however, tea and cake` is no list, nor is `it rained, we left and ...`.
        if words & _NOT_A_LIST:
            continue
        if use == "always" and not comma:
            message = f'The list has no comma before "{conjunction}". The guide wants one.'
        elif use == "never" and comma:
            message = f'The list has a comma before "{conjunction}". The guide wants none.'
        else:
            continue
        yield subject.finding(rule, (match.start(2), match.end(4)), message)


def _contractions(subject: Subject, rule: Rule) -> Iterator[Finding]:
    use = rule.text("use")
    if not use:
        return
    pattern = _UNCONTRACTED if use == "always" else _CONTRACTION
    wish = "contracts it" if use == "always" else "writes it out"
    for match in pattern.finditer(subject.prose):
        yield subject.finding(rule, match.span(), f'The guide {wish}: "{match.group()}".')


def _person(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for person in rule.words("avoid"):
        pattern = _PERSONS.get(person.lower())
        for match in pattern.finditer(subject.prose) if pattern else ():
            # Capitals all through are a country or a heading.
            if match.group() != "US":
                message = f'The guide does not say "{person}": "{match.group()}" is to go.'
                yield subject.finding(rule, match.span(), message)


def _numbers(subject: Subject, rule: Rule) -> Iterator[Finding]:
    limit = int(rule.number("spell_below"))
    if not limit:
        return
    prose = subject.prose
    for match in _DIGITS.finditer(prose):
        dated = _MONTH.search(prose[max(0, match.start() - 12) : match.start()])
        item = not prose[prose.rfind("\n", 0, match.start()) + 1 : match.start()].strip()
        numbered = item and prose[match.end() : match.end() + 1] in (".", ")")
        if int(match.group()[:9]) < limit and not (
            dated or numbered or _AFTER_DAY.match(prose[match.end() : match.end() + 6])
        ):
            message = f"The guide spells out whole numbers below {limit}."
            yield subject.finding(rule, match.span(), message)
    for match in _SPELLED.finditer(prose):
        if _NUMBER_WORDS[match.group().lower()] >= limit:
            message = f"The guide writes numbers from {limit} in figures."
            yield subject.finding(rule, match.span(), message)


def _heading_case(subject: Subject, rule: Rule) -> Iterator[Finding]:
    use = rule.text("use")
    right = {"sentence": in_sentence_case, "title": in_title_case}.get(use)
    for heading in subject.headings if right else ():
        if right and not right(heading.text, ()):
            message = f"The guide sets headings in {use} case."
            yield subject.finding(rule, (heading.start, heading.end), message)


def _sentence_length(subject: Subject, rule: Rule) -> Iterator[Finding]:
    most = int(rule.number("most"))
    for span in subject.sentences if most else ():
        count = len(subject.words_in(span))
        if count > most:
            message = f"The sentence has {count} words; the guide allows {most}. Cut it in two."
            yield subject.finding(rule, span, message)


def _exclamation_marks(subject: Subject, rule: Rule) -> Iterator[Finding]:
    most = int(rule.number("most"))
    marks = list(re.finditer(r"!+(?!\[)", subject.prose)) if most >= 0 else []
    for match in marks[most:] if most >= 0 else ():
        allowed = f"at most {most} in a draft" if most else "none"
        yield subject.finding(
            rule, match.span(), f"The guide allows {allowed}: end it with a stop."
        )


def _distinct(entries: tuple[str, ...]) -> list[str]:
    """Entries without blanks and without those that differ only in case or apostrophes."""
    return list(
        {fold(entry).strip(): entry for entry in reversed(entries) if entry.strip()}.values()
    )


def places(folded: Folded, term: str) -> list[Span]:
    """Spans, in the original, of a term as a whole word or phrase."""
    pattern = _term_pattern(term)
    if pattern is None:
        return []
    return [folded.span(*match.span()) for match in pattern.finditer(folded.text)]


def _misplaced(folded: Folded, avoided: str, wanted: str) -> list[Span]:
    """Spans of an avoided term, but where it is part of the wanted one.

    A term that differs from the wanted one in case only (`github`, `GitHub`) is right where it
    is written exactly so.
    """
    found = places(folded, avoided)
    if fold(avoided).strip() == fold(wanted).strip():
        return [place for place in found if folded.original[slice(*place)] != wanted.strip()]
    right = places(folded, wanted)
    return [
        (start, end)
        for start, end in found
        if not any(first <= start and end <= last for first, last in right)
    ]


def _term_pattern(term: str) -> re.Pattern[str] | None:
    words = fold(term).split()
    if not words:
        return None
    pattern = _GAP.join(re.escape(word) for word in words)
    before = _NOT_AFTER_LETTER if _SPACED_LETTER.match(words[0][0]) else ""
    after = _NOT_BEFORE_LETTER if _SPACED_LETTER.match(words[-1][-1]) else ""
    return re.compile(before + pattern + after)
