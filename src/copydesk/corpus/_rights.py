"""The right to train on a text, as its user records it."""

import re

from copydesk.errors import InvalidInput

_RIGHT = re.compile(r"(owned)|(licen[cs]e|consent):\s*(\S.*)", re.IGNORECASE)
_LONGEST = 200


def read_right(text: str) -> str:
    """`owned`, `licence:NAME` or `consent:NOTE`, in one spelling.

    Raises:
        InvalidInput: it is none of these.
    """
    found = _RIGHT.fullmatch(text.strip())
    if not found or len(text) > _LONGEST or not text.isprintable():
        raise InvalidInput(
            f"{text[:60]!r} is not a right to train",
            todo="Use owned, licence:NAME (e.g. licence:CC-BY-4.0) or consent:NOTE "
            "(who agreed, and when).",
        )
    if found[1]:
        return "owned"
    kind = "consent" if found[2].lower() == "consent" else "licence"
    return f"{kind}:{found[3].strip()}"
