"""The workspace's verbs about versions: judge, promote, go back, look back, compare, trace."""

import os

from copydesk.desk._diffing import VersionDiff, diff_versions
from copydesk.desk._lineage import lineages, trace
from copydesk.desk._place import Place
from copydesk.desk._promoting import ClientHistory, go_back, marked_history, promote_version
from copydesk.desk._results import Evaluated
from copydesk.errors import InvalidInput
from copydesk.records import Lineage, Listener, ignore_progress
from copydesk.registry import Promotion


class RegistryVerbs:
    """What a workspace does with versions that are there."""

    _place: Place

    def evaluate(self, ref: str, *, listener: Listener = ignore_progress) -> Evaluated:
        """Ask all gates about a version, and record what they say.

        The thresholds are those of `[gates]` in `copydesk.toml`. A gate whose standard is missing,
        such as the live version's before any promotion, is not asked.

        Args:
            ref: `client@n`, or `client` for its newest version.
            listener: receives progress.

        Raises:
            UnknownName: no such version, or the client has no pages.
            InUse: another process trains or evaluates the client.
        """
        from copydesk.desk._gating import evaluate_version

        return evaluate_version(self._place, ref, listener=listener)

    def promote(
        self,
        ref: str,
        *,
        force: bool = False,
        reason: str = "",
        canary: float | None = None,
    ) -> Promotion:
        """Let a version speak for its client, which its gates must have allowed.

        Args:
            ref: `client@n`.
            force: pass the gates over; the reason is recorded.
            reason: why it is forced.
            canary: share of the requests to try it on first, between 0 and 1. It ends by itself,
                see `[canary]` in `copydesk.toml`, or by `promote` and `rollback`.

        Raises:
            NotPassed: its gates said no, were never asked, or what they were asked by has changed.
            AlreadyThere: it speaks already.
            InUse: the canary of another version is running.
            InvalidInput: no version is named, or the reason is missing, or stands without force.
        """
        if "@" not in ref:
            raise InvalidInput(
                f"{ref!r} names no version", todo=f"Name one: copydesk promote {ref}@NUMBER"
            )
        if reason and not force:
            raise InvalidInput(
                "A reason is given and nothing is forced", todo="Add --force, or leave it out."
            )
        return promote_version(
            self._place, ref, force_reason=reason if force else None, share=canary
        )

    def rollback(self, client: str, *, reason: str = "") -> Promotion:
        """Stop the client's canary; where none runs, let the version speak that spoke before.

        Raises:
            UnknownName: no such client.
            InvalidInput: nothing spoke before.
        """
        return go_back(self._place, client, reason=reason)

    def history(self, client: str) -> ClientHistory:
        """A client's versions, what speaks, and every change of it.

        Raises:
            UnknownName: no such client.
        """
        return marked_history(self._place, client)

    def diff(self, one: str, other: str) -> VersionDiff:
        """Two versions of a client side by side.

        Raises:
            UnknownName: no such version.
            InvalidInput: they are of different clients.
        """
        return diff_versions(self._place, one, other)

    def lineage(self, what: str | os.PathLike[str]) -> Lineage:
        """Where a draft or a version comes from: run, base, dataset, pages, rights to train.

        Args:
            what: a draft's file, or `client@n`, or `client` for what speaks.

        Raises:
            UnknownName: no such file or version.
            InvalidInput: the file does not say which version wrote it.
        """
        return trace(self._place, os.fspath(what))

    def lineages(self) -> tuple[Lineage, ...]:
        """The lineage of every version that the drafts kept here were written by."""
        return lineages(self._place)
