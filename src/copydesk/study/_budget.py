"""Time that a comparison may take, shared out over what is still to be measured."""

import time
from collections.abc import Callable


class Budget:
    """A deadline for the whole, from which each cell gets its share."""

    def __init__(
        self, seconds: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock.

        Args:
            seconds: for everything; None is without end.
            clock: in seconds, never running backwards.
        """
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    @property
    def left(self) -> float | None:
        """Seconds, 0 at least; None where there is no end."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def share(self, weight: float, of: float, *, less: float = 0.0) -> "Allowance":
        """What a piece of work may take of the time that is left.

        What an earlier piece left unused is shared out among the later ones, because each share is
        taken of what is left by then.

        Args:
            weight: of this piece.
            of: the weights of it and of all that comes after it.
            less: seconds of the share that something else will take, such as scoring.
        """
        if self.left is None:
            return Allowance(None, self._clock)
        seconds = self.left * weight / of if of > 0 else self.left
        return Allowance(max(0.0, seconds - less), self._clock)


class Allowance:
    """A piece's share of the time. Call it to ask whether it is used up."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        """Start the piece's clock."""
        self.seconds = seconds
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    def __call__(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and self._clock() >= self._end
