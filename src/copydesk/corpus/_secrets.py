"""Contact data and secrets in a text: found, and taken out.

Secrets are what opens a door: keys, tokens, card numbers. Their formats are those that the issuers
publish, and numbers count only when their check digits are right. Contact data is e-mail addresses,
telephone numbers and bank accounts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

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
    if not 8 <= digits <= 15 or is_date:
        return False
    return text.startswith(("+", "00")) or (len(groups) >= 3 and digits >= 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    name: str
    kind: Kind
    sign: str
    """What every match holds: a text without it is not searched."""
    pattern: re.Pattern[str]
    holds: Callable[[str], bool] = bool


def _token(name: str, sign: str, pattern: str) -> _Pattern:
    return _Pattern(name=name, kind="secret", sign=sign, pattern=re.compile(pattern))


_PATTERNS: Final = (
    _token(
        "private key",
        "PRIVATE KEY",
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]{0,10000}?-----END [A-Z ]{0,20}KEY-----",
    ),
    _token("AWS key", "AKIA", r"\bAKIA[0-9A-Z]{16}\b"),
    _token("GitHub token", "gh", r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    _token("GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{40,255}\b"),
    _token("Slack token", "xox", r"\bxox[abprs]-[A-Za-z0-9-]{10,250}"),
    _token("Google key", "AIza", r"\bAIza[0-9A-Za-z_-]{35}"),
    _token("Stripe key", "k_live_", r"\b[rs]k_live_[0-9A-Za-z]{16,250}"),
    _token("API key", "sk-", r"\bsk-[A-Za-z0-9_-]{32,250}"),
    _token("JSON web token", "eyJ", r"\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}"),
    _Pattern(
        name="card number",
        kind="secret",
        sign="",
        pattern=re.compile(r"(?<![\w.,/-])\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}(?![\w,/-]|\.\d)"),
        holds=_luhn,
    ),
    _Pattern(
        name="e-mail",
        kind="contact",
        sign="@",
        pattern=re.compile(
            r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+"
        ),
    ),
    _Pattern(
        name="account",
        kind="contact",
        sign="",
        pattern=re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
        holds=_iban,
    ),
    _Pattern(
        name="telephone",
        kind="contact",
        sign="",
        pattern=re.compile(
            r"(?<![\w.,/$\u20ac\u00a3=-])(?:\+|\()?\d[\d ().-]{6,20}\d(?![\w/]|[.,]\d)"
        ),
        holds=_telephone,
    ),
)
_SIGNS: Final = ("@", *dict.fromkeys(one.sign for one in _PATTERNS[1:] if one.sign))
_DIGITS: Final = b"0123456789"
_FEWEST_DIGITS: Final = 8


def scrub(text: str, kinds: frozenset[Kind]) -> tuple[str, dict[Kind, int]]:
    """The text with `[e-mail]`, `[telephone]`, `[AWS key]` and so on in place of what was found.

    Args:
        text: any text.
        kinds: what is replaced. The others are only counted.

    Returns:
        The text, and how many of each kind were found.
    """
    counts: dict[Kind, int] = {"secret": 0, "contact": 0}
    key = _PATTERNS[0]  # the one thing that runs over several lines
    if key.sign in text:
        text = _without(key, text, kinds, counts)
    raw = text.encode()
    signs = [sign for sign in _SIGNS if sign in text]
    if not signs and not _has_digits(raw):
        return text, counts
    lines = text.split("\n")
    for number, (line, raw_line) in enumerate(zip(lines, raw.split(b"\n"), strict=True)):
        numbered = _has_digits(raw_line)
        if numbered or any(sign in line for sign in signs):
            for one in _PATTERNS[1:]:
                if one.sign in line if one.sign else numbered:
                    line = _without(one, line, kinds, counts)
            lines[number] = line
    return "\n".join(lines), counts


def _has_digits(raw: bytes) -> bool:
    """Whether there are as many digits as the shortest number that is looked for has."""
    return len(raw) - len(raw.translate(None, _DIGITS)) >= _FEWEST_DIGITS


def _without(one: _Pattern, text: str, kinds: frozenset[Kind], counts: dict[Kind, int]) -> str:
    def put(match: re.Match[str]) -> str:
        if not one.holds(match[0]):
            return match[0]
        counts[one.kind] += 1
        return f"[{one.name}]" if one.kind in kinds else match[0]

    return one.pattern.sub(put, text)
