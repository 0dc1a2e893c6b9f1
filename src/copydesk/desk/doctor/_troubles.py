"""One thing that is wrong, and how it is mended."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from copydesk.errors import CopydeskError

Severity = Literal["error", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What was found."""

    check: str
    """Which check found it."""
    severity: Severity
    """`error`: something is lost, changed or cannot be used. `note`: untidy, or good to know."""
    what: str
    where: str
    todo: str
    """What to do about it; what was done, where it was repaired."""
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A trouble, and what mends it where that is safe."""

    trouble: Trouble
    mend: Callable[[], None] | None = None
    done: str = "Repaired."
    """What to say once it is mended."""

    def mended(self) -> Trouble:
        """Mend it; the trouble says what came of it."""
        if self.mend is None:
            return self.trouble
        try:
            self.mend()
        except CopydeskError as error:
            return replace(self.trouble, todo=f"It could not be repaired: {error}")
        return replace(self.trouble, todo=self.done, repaired=True)


def error(check: str, what: str, where: object, todo: str) -> Trouble:
    """Something that is lost, changed or cannot be used."""
    return Trouble(check=check, severity="error", what=what, where=str(where), todo=todo)


def note(check: str, what: str, where: object, todo: str) -> Trouble:
    """Something untidy, or good to know."""
    return Trouble(check=check, severity="note", what=what, where=str(where), todo=todo)


REPAIR = "copydesk doctor --repair"
SIGN = "copydesk doctor --sign"
BACKUP = "Restore it from a backup, or make it again."
