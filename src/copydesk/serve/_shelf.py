"""Adapters on their way from disk: read on a thread of its own, kept while there is room.

Keyed by the digest of what is read, never by a name: a name that comes to mean another version gets
another entry. What a request uses is pinned until the request ends; of the rest the least recently
used goes first.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from copydesk.errors import CopydeskError, Damaged
from copydesk.models import AdapterWeights, Base, read_adapter
from copydesk.records import AdapterRef
from copydesk.serve._openmp import use_one_thread
from copydesk.serve._runner import Prepared
from copydesk.store import open_artifact

_LOG = logging.getLogger(__name__)


def _closed(_: AdapterWeights) -> Prepared:
    raise AssertionError("the shelf is closed")


class _Entry:
    __slots__ = ("error", "pins", "weights")

    def __init__(self) -> None:
        self.pins = 0
        self.weights: Prepared | None = None
        self.error: CopydeskError | None = None


class Lease:
    """An adapter that stays in memory until `release`."""

    def __init__(self, shelf: "Shelf", digest: str, entry: _Entry) -> None:
        self._shelf = shelf
        self._digest = digest
        self._entry: _Entry | None = entry

    @property
    def ready(self) -> bool:
        """It was read, or cannot be."""
        assert self._entry is not None
        return self._entry.weights is not None or self._entry.error is not None

    @property
    def weights(self) -> Prepared:
        """The adapter, once it is ready.

        Raises:
            CopydeskError: why it cannot be used.
        """
        assert self._entry is not None and self.ready
        if self._entry.error is not None:
            raise self._entry.error
        assert self._entry.weights is not None
        return self._entry.weights

    def release(self) -> None:
        """Let it go; harmless the second time."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._shelf._let_go(self._digest, entry)  # pyright: ignore[reportPrivateUsage]


class Shelf:
    """The adapters in memory, at most `limit` of them."""

    def __init__(
        self,
        base: Base,
        prepare: Callable[[AdapterWeights], Prepared],
        *,
        limit: int,
        on_ready: Callable[[], None],
    ) -> None:
        self._base = base
        self._prepare = prepare
        self._limit = limit
        self._on_ready = on_ready
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="copydesk-adapters", initializer=use_one_thread
        )
        self.hits = 0
        self.misses = 0
        self.evicted = 0

    @property
    def resident(self) -> int:
        """Adapters in memory."""
        with self._lock:
            return sum(entry.weights is not None for entry in self._entries.values())

    @property
    def bytes(self) -> int:
        """What they take."""
        with self._lock:
            held = [entry.weights for entry in self._entries.values()]
            return sum(weights.bytes for weights in held if weights is not None)

    def lease(self, ref: AdapterRef) -> Lease | None:
        """Pin an adapter, and begin to read it where it is not there; None while all are in use."""
        with self._lock:
            entry = self._entries.get(ref.digest)
            if entry is None:
                if len(self._entries) >= self._limit and not self._make_room():
                    return None
                self.misses += 1
                entry = self._entries[ref.digest] = _Entry()
                self._reader.submit(self._read, ref, entry)
            else:
                self.hits += 1
            self._entries.move_to_end(ref.digest)
            entry.pins += 1
        return Lease(self, ref.digest, entry)

    def close(self) -> None:
        """Read no more, and let go of everything; nothing is leased afterwards."""
        self._reader.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._entries.clear()
            self._prepare = _closed

    def _make_room(self) -> bool:
        for digest, entry in self._entries.items():
            if entry.pins == 0 and (entry.weights is not None or entry.error is not None):
                del self._entries[digest]
                self.evicted += 1
                return True
        return False

    def _let_go(self, digest: str, entry: _Entry) -> None:
        with self._lock:
            entry.pins -= 1
            # A failure is not kept: the folder may have been mended.
            if entry.error is not None and self._entries.get(digest) is entry:
                del self._entries[digest]

    def _read(self, ref: AdapterRef, entry: _Entry) -> None:
        try:
            if (ref.path / "manifest.json").exists():
                found = open_artifact(ref.path).digest
                if found != ref.digest:
                    raise Damaged(
                        f"The folder of {ref.name} holds {found[:12]}, not {ref.digest[:12]}",
                        where=str(ref.path),
                        todo="Restore it from a backup, or train it again.",
                    )
            weights = read_adapter(self._base, ref.path, bound_to=ref.base_digest)
            entry.weights = self._prepare(weights)
        except CopydeskError as error:
            entry.error = error
        except Exception as error:  # noqa: BLE001 - a reader that died would leave its jobs waiting
            _LOG.exception("the adapter %s cannot be read", ref.name)
            entry.error = Damaged(
                f"The adapter {ref.name} cannot be read: {type(error).__name__}",
                where=str(ref.path),
                todo="Train it again.",
            )
        self._on_ready()
