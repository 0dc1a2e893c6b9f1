"""Who comes next: a bounded queue that is fair between shares."""

from collections import OrderedDict, deque
from collections.abc import Iterator

from copydesk.serve._tasks import Task


class FairQueue:
    """Tasks that wait, first come first served within a share, shares in turn by what they used.

    A share's use is the tokens that were run for it. One that comes back starts at the least use of
    those that wait, so that a quiet hour gives no claim to the next one (start-time fair queueing,
    Goyal et al. 1996, with tokens as the cost).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: OrderedDict[str, deque[Task]] = OrderedDict()
        self._used: dict[str, float] = {}
        self._floor = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Task]:
        for tasks in self._waiting.values():
            yield from tasks

    @property
    def full(self) -> bool:
        """No more is taken."""
        return self._count >= self._limit

    def put(self, task: Task) -> None:
        """Let a task wait."""
        share = task.request.share
        if share not in self._waiting:
            self._waiting[share] = deque()
            self._used[share] = max(self._used.get(share, 0.0), self._floor)
        self._waiting[share].append(task)
        self._count += 1

    def peek(self) -> Task | None:
        """The task whose turn it is."""
        if not self._waiting:
            return None
        share = min(self._waiting, key=lambda name: self._used[name])
        return self._waiting[share][0]

    def remove(self, task: Task) -> None:
        """Take out a task, wherever it stands."""
        share = task.request.share
        self._waiting[share].remove(task)
        self._count -= 1
        if not self._waiting[share]:
            del self._waiting[share]

    def charge(self, share: str, tokens: int) -> None:
        """Count what was run for a share."""
        used = self._used[share] = max(self._used.get(share, 0.0), self._floor) + tokens
        waiting = [self._used[name] for name in self._waiting]
        self._floor = max(self._floor, min(waiting, default=used))
        if len(self._used) > 4096:  # shares come from outside: forget those that claim nothing
            self._used = {
                name: used
                for name, used in self._used.items()
                if used > self._floor or name in self._waiting
            }
