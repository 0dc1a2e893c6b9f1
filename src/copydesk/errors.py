"""The error tree. Every error Copydesk raises on purpose is a `CopydeskError`.

    CopydeskError
    |-- InvalidInput (ValueError)            a file, flag or setting is wrong
    |-- UnknownName (LookupError)            a client, version, base or method that is not there
    |-- AlreadyThere (FileExistsError)       something would be overwritten
    |-- NotEnoughText (ValueError)           too few pages to train on or to hold out
    |-- WrongBase (ValueError)               an adapter meets a base it was not trained on
    |-- CannotShare (ValueError)             runs that cannot be mixed over one base
    |-- NotPassed (RuntimeError)             a version has not earned its promotion
    |-- InUse (RuntimeError)                 another process holds it
    |-- Cancelled (RuntimeError)             somebody asked for it to end
    |-- Busy (RuntimeError)                  more is asked than is taken at once; come again
    |-- Diverged (ArithmeticError)           a loss stopped being a number
    |-- EngineDown (RuntimeError)            the generation engine has stopped
    |-- Unreachable (ConnectionError)        a package index or a hub did not answer
    |-- Damaged (OSError)                    a file does not match its recorded hash
    |-- NoRoom (OSError)                     the disk is full or may not be written
    `-- OutOfMemory (MemoryError)            the machine's memory does not suffice

A message says what is wrong, where, and what to do next. `fault` tells whose turn it is: the
command line exits with 2 for the caller's and with 3 for the machine's.
"""

from typing import ClassVar, Literal

Fault = Literal["caller", "machine"]


class CopydeskError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what is wrong, naming the thing.
        where: the file, line or setting, when there is one.
        todo: what the reader can do next.
    """

    fault: ClassVar[Fault] = "caller"

    def __init__(self, what: str, *, where: str | None = None, todo: str | None = None) -> None:
        self.what = what
        self.where = where
        self.todo = todo
        place = f" ({where})" if where else ""
        step = f" {todo}" if todo else ""
        super().__init__(f"{what.removesuffix('.')}{place}.{step}")

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidInput(CopydeskError, ValueError):
    """A file, flag or setting that cannot be used as it is."""


class UnknownName(CopydeskError, LookupError):
    """A client, version, base or method that does not exist here."""


class AlreadyThere(CopydeskError, FileExistsError):
    """Creating it would overwrite something."""


class NotEnoughText(CopydeskError, ValueError):
    """Too few usable pages to train on, or to hold any out."""


class WrongBase(CopydeskError, ValueError):
    """An adapter is bound to the hash of one base and was given another."""


class CannotShare(CopydeskError, ValueError):
    """Runs that cannot be mixed in one pass over a base; each can run by itself."""


class Cancelled(CopydeskError, RuntimeError):
    """Ended because somebody asked for it."""


class NotPassed(CopydeskError, RuntimeError):
    """The gates said no of a version, or were not asked."""


class InUse(CopydeskError, RuntimeError):
    """Another process is working on it."""


class Busy(CopydeskError, RuntimeError):
    """More is asked than is taken at once."""

    fault = "machine"

    def __init__(
        self, what: str, *, retry_seconds: float, where: str | None = None, todo: str | None = None
    ) -> None:
        super().__init__(what, where=where, todo=todo)
        self.retry_seconds = retry_seconds
        """When to come again, from now."""


class EngineDown(CopydeskError, RuntimeError):
    """The generation engine has stopped; it may be started again."""

    fault = "machine"


class Diverged(CopydeskError, ArithmeticError):
    """A loss or gradient stopped being a finite number."""

    fault = "machine"


class Unreachable(CopydeskError, ConnectionError):
    """A package index or model hub could not be reached."""

    fault = "machine"


class Damaged(CopydeskError, OSError):
    """A stored file does not match the hash in its manifest."""

    fault = "machine"


class NoRoom(CopydeskError, OSError):
    """The disk is full, or the folder may not be written."""

    fault = "machine"


class OutOfMemory(CopydeskError, MemoryError):
    """The machine's memory does not suffice."""

    fault = "machine"
