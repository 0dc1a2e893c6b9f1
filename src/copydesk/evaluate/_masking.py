"""Text with its topic taken out: common words, punctuation and the shapes of all other words.

A page's content words say what it is about, and two clients rarely write about the same things: a
measure that sees them tells topics apart and calls it voice. Text distortion (Stamatatos 2017,
"Authorship Attribution Using Text Distortion", EACL) keeps the words that carry no topic and
replaces the rest, letter by letter, by a sign. Markdown's marks, code, addresses and line breaks
are left out too: what is formatted how is the client's template, not its voice.

The words that are kept are English. A text in another language is judged by shapes and punctuation
alone.
"""

import re
from collections.abc import Iterable
from typing import Final

from copydesk.corpus import plain, prose_lines

_FUNCTION: Final = """
a about above across after afterwards again against ago ahead all almost alone along already also
although always am amid among amongst an and another any anybody anyone anything anyway anywhere
apart are aren't around as aside at away back be because been before beforehand behind being below
beneath beside besides between beyond both but by can can't cannot could couldn't despite did
didn't do does doesn't doing don't done down due during each either else elsewhere enough
especially etc even ever every everybody everyone everything everywhere except far few fewer
finally first for former forth from further furthermore had hadn't has hasn't have haven't having
he he'd he'll he's hence her here here's hers herself him himself his how however i i'd i'll i'm
i've if in indeed inside instead into is isn't it it'd it'll it's its itself just last lately
later latter least less lest let let's like likely little lot lots many may maybe me meanwhile
might mine more moreover most mostly much must my myself near nearly neither never nevertheless
next no nobody none nonetheless nor not nothing now nowhere of off often oh okay on once one one's
ones only onto or other others otherwise ought our ours ourselves out outside over overall own
past per perhaps please plus quite rather really regarding same second several shall she she'd
she'll she's should shouldn't simply since so some somebody somehow someone something sometimes
somewhat somewhere soon still such than thank thanks that that'd that'll that's the their theirs
them themselves then there there's thereby therefore these they they'd they'll they're they've
third this those though through throughout thus till to today together too toward towards twice
two under underneath unless unlike until up upon us usually various versus very via was wasn't we
we'd we'll we're we've well were weren't what what's whatever when whenever where where's whereas
wherever whether which whichever while who who'd who's whoever whole whom whose why will with
within without won't would wouldn't yes yet you you'd you'll you're you've your yours yourself
yourselves
"""
FUNCTION_WORDS: Final = frozenset(_FUNCTION.split())
"""English words that carry no topic: articles, pronouns, prepositions, conjunctions, auxiliaries,
their contractions, and adverbs of degree, time and connection."""

_GENERAL: Final = """
able add added allow allows ask asked asking bad become becomes began begin best better big bring
call called came change changed clear come comes coming common complete course create created day
days different difficult easier easily easy end entire example exactly expect feel felt find first
follow following found full gave get gets getting give given gives giving go goes going gone good
got great happen happens happy hard having hear help helped helpful helping helps high hope idea
ideas important include included includes including interested interesting involved keep keeping
kind knew know knowing known knows large larger learn learned led left long longer look looked
looking looks made main make makes making mean means met might mind moment month months move moved
need needed needs new number old open order part particular particularly people perfect place
point possible previous problem problems process provide provided put question questions quick
quickly ready real reason recent recently require right run said say saying says second see seeing
seem seemed seems seen self send sent set sets share short show shown shows side similar simple
single small sort special specific start started starting starts state step steps stop sure take
taken takes taking talk tell thing things think thinking thought three time times told took tried
true try trying turn type understand understanding use used useful user uses using want wanted
wants way ways week weeks well went word words work worked working works world worth write written
wrong year years
"""
GENERAL_WORDS: Final = frozenset(_GENERAL.split())
"""Frequent English words of any subject. Text distortion keeps the language's most frequent words,
not only its function words."""

_ENDING: Final = """
ings ing edly ed ly ies es s er ers est ions ion ments ment ness ity ities ive al ous able ible
ful less ance ence ism ist ize ise
"""
_ENDINGS: Final = tuple(sorted(_ENDING.split(), key=len, reverse=True))
"""Inflections and derivations: grammar, which a masked word keeps."""

_KEPT: Final = FUNCTION_WORDS | GENERAL_WORDS
_SHAPE: Final = 4
"""Signs that stay of a masked word's stem."""

_SAME: Final = str.maketrans(
    {**dict.fromkeys("\u2018\u2019\u02bc", "'"), **dict.fromkeys("\u201c\u201d", '"')}
    | {"\u2014": " - ", "\u2013": "-", "\u2026": "...", "\u00a0": " "}
)
_LINE_START: Final = re.compile(r"^[ \t]*(?:#{1,6}|[-*+]|\d{1,3}[.)]|>)[ \t]+")
_TABLE_OR_TARGET: Final = re.compile(r"^[ \t]*(?:\||\[[^\]\n]*\]:)")
_MARKS: Final = re.compile(r"[*_`\[\]{}#|\\~<>^]+")
_DASHES: Final = re.compile(r"--+")
# Where a link's target stood; prose that had none must not look different.
_GAP: Final = re.compile(r"[ \t]+(?=[.,;:!?)])")
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W\d_]+)*")
_BLANKS: Final = re.compile(r"\s+")


def prose(text: str) -> str:
    """The prose of Markdown `text` on one line, in one spelling of quotes and dashes."""
    lines = (
        _LINE_START.sub("", line)
        for line in plain("\n".join(prose_lines(text))).split("\n")
        if not _TABLE_OR_TARGET.match(line)
    )
    bare = _DASHES.sub(" - ", _MARKS.sub("", " ".join(lines).translate(_SAME)))
    return _BLANKS.sub(" ", _GAP.sub("", bare)).strip()


def words(text: str) -> list[str]:
    """The words of `prose` in order: letters and digits, with apostrophes inside them."""
    return _WORD.findall(text)


def cut_words(text: str, start: int, stop: int) -> str:
    """From the first character of word `start` of `prose` to before word `stop`."""
    starts = [match.start() for match in _WORD.finditer(text)]
    if start >= len(starts):
        return ""
    return text[starts[start] : starts[stop] if stop < len(starts) else len(text)].strip()


def hiding(names: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern of the words of names and keywords, whole and in any case; None for no names.

    Common words inside a name hide with it, but not by themselves.
    """
    phrases = {_BLANKS.sub(" ", name.translate(_SAME)).strip() for name in names}
    own = {
        word
        for phrase in phrases
        for word in words(phrase)
        if word.casefold() not in _KEPT and len(word) > 1
    }
    wanted = sorted((phrases | own) - {""}, key=lambda phrase: (-len(phrase), phrase))
    if not wanted:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, wanted))})(?!\w)", re.IGNORECASE)


def mask(text: str, hidden: re.Pattern[str] | None = None) -> str:
    """`prose` with every word that is neither a function word nor a general one masked.

    Of a masked word stay up to four signs, its ending and a possessive's `'s`: letters become `x`
    or, where they are capitals, `X`; digits become `#`. A word in capitals is no function word:
    `US` is a country and `IT` a trade.

    Args:
        text: prose, as `prose` gives it.
        hidden: names to be hidden altogether, from `hiding`.
    """
    if hidden is not None:
        text = hidden.sub(lambda match: " ".join(map(_nameless, words(match[0]))), text)
    return _WORD.sub(_masked, text)


def _nameless(word: str) -> str:
    """A word of no one's, so that neither its shape nor that it was hidden tells whose it is."""
    return "xxxx" if word[0].islower() else "Xxxx"


def _masked(match: re.Match[str]) -> str:
    word = match[0]
    lower = word.lower()
    if lower in _KEPT and (len(word) == 1 or not word.isupper()):
        return lower
    stem, apostrophe, rest = word.partition("'")
    kept = "'s" if rest.lower() == "s" else apostrophe + _shape(rest)
    ending = "" if stem.isupper() else _ending(stem)
    return _shape(stem.removesuffix(ending)) + ending + kept


def _ending(stem: str) -> str:
    """The longest ending that leaves a stem of three letters."""
    if not stem.isalpha():
        return ""
    return next((end for end in _ENDINGS if stem.endswith(end) and len(stem) - len(end) >= 3), "")


def _shape(word: str) -> str:
    """How long a word is says more of its topic than of who wrote it."""
    return "".join("#" if c.isdigit() else "X" if c.isupper() else "x" for c in word[:_SHAPE])
