"""Contact data and secrets in a text: found, and taken out.

Secrets are what opens a door: keys, tokens, card numbers. Their formats are those that the issuers
publish, and numbers count only when their check digits are right. Contact data is e-mail addresses,
telephone numbers and bank accounts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from copydesk.corpus._kernels import load_kernels

Kind = Literal["secret", "contact"]


def _luhn(text: str) -> bool:
    """Whether the digits end with their check digit (ISO/IEC 7812-1)."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    """Whether its check digits are right (ISO 13616)."""
    bare = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4])) % 97 == 1


def _telephone(text: str) -> bool:
    """Eight to fifteen digits (ITU-T E.164), and written as one: with a plus or with gaps."""
    digits = sum(c.isdigit() for c in text)
    groups = re.findall(r"\d+", text)
    is_date = re.fullmatch(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}(?:[ .-]\d+)*|\d{4} ?- ?\d{4}", text)
    is_book = digits == 13 and text.startswith(("978", "979"))  # ISBN-13
    if not 8 <= digits <= 15 or is_date or is_book:
        return False
    return text.startswith(("+", "00")) or (len(groups) >= 3 and digits >= 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    name: str
    kind: Kind
    sought: int
    """The bit of lines that may hold it; those of `_search.cpp`."""
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = bool
    signs: tuple[str, ...] = ()
    """Of which every key holds one, where the sought bit is that of keys."""
    following: int = 0
    """How many characters of a token follow the sign at least."""


_KEY, _MAIL, _ACCOUNT, _CARD, _TELEPHONE = 1, 2, 4, 8, 16
_PRIVATE_KEY: Final = _Pattern(
    name="private key",
    kind="secret",
    sought=_KEY,
    pattern=re.compile(
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]{0,10000}?-----END [A-Z ]{0,20}KEY-----"
    ),
    signs=("PRIVATE KEY",),
)
"""The one thing that runs over several lines."""


def _token(name: str, pattern: str, following: int, *signs: str) -> _Pattern:
    return _Pattern(
        name=name,
        kind="secret",
        sought=_KEY,
        pattern=re.compile(pattern),
        signs=signs,
        following=following,
    )


_PATTERNS: Final = (
    _token("AWS key", r"\bAKIA[0-9A-Z]{16}\b", 16, "AKIA"),
    _token(
        "GitHub token",
        r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b",
        36,
        *("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    ),
    _token("GitHub token", r"\bgithub_pat_[A-Za-z0-9_]{40,255}\b", 40, "github_pat_"),
    _token("Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{10,250}", 12, "xox"),
    _token("Google key", r"\bAIza[0-9A-Za-z_-]{35}", 35, "AIza"),
    _token("Stripe key", r"\b[rs]k_live_[0-9A-Za-z]{16,250}", 16, "k_live_"),
    _token("API key", r"\bsk-[A-Za-z0-9_-]{32,250}", 32, "sk-"),
    _token("JSON web token", r"\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}", 10, "eyJ"),
    _Pattern(
        name="account",
        kind="contact",
        sought=_ACCOUNT,
        pattern=re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
        holds=_iban,
    ),
    _Pattern(
        name="card number",
        kind="secret",
        sought=_CARD,
        pattern=re.compile(r"(?<![\w.,/-])\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}(?![\w,/-]|\.\d)"),
        holds=_luhn,
    ),
    _Pattern(
        name="e-mail",
        kind="contact",
        sought=_MAIL,
        pattern=re.compile(
            r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+"
        ),
    ),
    _Pattern(
        name="telephone",
        kind="contact",
        sought=_TELEPHONE,
        pattern=re.compile(
            r"(?<![\w.,/$\u20ac\u00a3=-])(?:\+|\()?\d[\d ().-]{6,20}\d(?![\w/]|[.,]\d)"
        ),
        holds=_telephone,
    ),
)
_SIGNS: Final = tuple((sign.encode(), one.following) for one in _PATTERNS for sign in one.signs)
_PACKED_SIGNS: Final = b"".join(bytes([len(sign), following]) + sign for sign, following in _SIGNS)
_FEWEST_DIGITS: Final = 8
_NUMBERS: Final = _ACCOUNT | _CARD | _TELEPHONE
_AS_LETTERS: Final = str.maketrans("0123456789", "abcdefghij")
_AS_DIGITS: Final = str.maketrans("abcdefghij", "0123456789")
_MARKED: Final = re.compile("\0([a-j]+)\0")
"""Where something was taken out. Pages hold no NUL: such records are refused when they are read."""


def scrub(text: str, kinds: frozenset[Kind]) -> tuple[str, dict[Kind, int]]:
    """The text with `[e-mail]`, `[telephone]`, `[AWS key]` and so on in place of what was found.

    Args:
        text: any text.
        kinds: what is replaced. The others are only counted.

    Returns:
        The text, and how many of each kind were found.
    """
    found = _Found(kinds=kinds)
    if _PRIVATE_KEY.signs[0] in text:
        text = found.marked(_PRIVATE_KEY, text)
    suspects = _suspects(text)
    if suspects:
        lines = text.split("\n")
        for number, sought in suspects:
            line = lines[number]
            for one in _PATTERNS:
                if one.sought & sought:
                    line = found.marked(one, line)
            lines[number] = line
        text = "\n".join(lines)
    return found.written(text), found.counts


def _suspects(text: str) -> Sequence[tuple[int, int]]:
    """(number, what it may hold) of the lines that may hold something.

    Told without a loop over lines where that can be: addresses have an at sign, numbers have
    digits. The kernel looks more closely.
    """
    kernels = load_kernels()
    if kernels is not None:
        return kernels.suspects(text, _PACKED_SIGNS)
    raw = text.encode()
    raw_B = np.frombuffer(raw, dtype=np.uint8)
    at_B = raw_B == 64
    digits_B = raw_B - np.uint8(48) < 10  # those before 0 wrap around
    ends = np.append(np.flatnonzero(raw_B == 10), len(raw_B))
    sought_L = np.where(_in_each(at_B, ends) > 0, _MAIL, 0)
    sought_L |= np.where(_in_each(digits_B, ends) >= _FEWEST_DIGITS, _NUMBERS, 0)
    if any(sign in raw for sign, _ in _SIGNS):
        sought_L |= _KEY
    lines = np.flatnonzero(sought_L)
    return list(zip(lines.tolist(), sought_L[lines].tolist(), strict=True))


def _in_each(found_B: NDArray[np.bool_], ends_L: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many were found before the end of each line."""
    return np.diff(np.searchsorted(np.flatnonzero(found_B), ends_L), prepend=0)


class _Found:
    """What was found, taken out of the text meanwhile: an account holds what looks like a card."""

    def __init__(self, *, kinds: frozenset[Kind]) -> None:
        self.counts: dict[Kind, int] = {"secret": 0, "contact": 0}
        self._kinds = kinds
        self._instead: list[str] = []

    def marked(self, one: _Pattern, text: str) -> str:
        def put(match: re.Match[str]) -> str:
            if not one.holds(match[0]):
                return match[0]
            self.counts[one.kind] += 1
            self._instead.append(f"[{one.name}]" if one.kind in self._kinds else match[0])
            # Written in letters: a number's digits would be taken for a part of the next one.
            number = str(len(self._instead) - 1).translate(_AS_LETTERS)
            return f"\0{number}\0"

        return one.pattern.sub(put, text)

    def written(self, text: str) -> str:
        if not self._instead:
            return text
        return _MARKED.sub(lambda match: self._instead[int(match[1].translate(_AS_DIGITS))], text)
