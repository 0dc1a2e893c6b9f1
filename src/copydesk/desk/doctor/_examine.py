"""Look at a whole workspace, part by part, and mend on the way where that is wanted."""

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from copydesk.desk._config import CONFIG_FILE, Config, read_config
from copydesk.desk._place import Place
from copydesk.desk.doctor import _artifacts, _catalogue, _workspace
from copydesk.desk.doctor._troubles import Case, Trouble, error, note
from copydesk.errors import InvalidInput, NoRoom
from copydesk.store import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found."""

    workspace: Path
    fingerprint: str | None
    """Of the workspace's public key; None before there is one."""
    artifacts: int
    """How many the catalogue lists."""
    found: tuple[Trouble, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong, or all that was is repaired."""
        return all(item.repaired or item.severity == "note" for item in self.found)


def examine(
    root: Path, *, repair: bool = False, sign: bool = False, files: bool = True
) -> Examination:
    """Check a workspace; repair what is safe, where that is wanted.

    Args:
        root: the workspace's folder.
        repair: list what was lost, finish what was cut off, remove what nobody needs. No file of a
            client that still is one is removed, but caches and unfinished work.
        sign: sign artifacts from before manifests were signed, once their hashes are right.
        files: read every file of every artifact; without it manifests and signatures alone.

    Raises:
        InvalidInput: it is to sign without reading what it signs.
    """
    if sign and not files:
        raise InvalidInput(
            "Nothing is signed whose files were not read",
            todo="Sign without --quick: copydesk doctor --sign",
        )
    config, found = _config(root)

    def settle(cases: Iterable[Case], *, by: bool = repair) -> None:
        for case in cases:
            may = sign if case.trouble.check == "signatures" else by
            found.append(case.mended() if may else case.trouble)

    settle(_catalogue.catalogue_file(root))
    if any(item.check == _catalogue.CHECK and not item.repaired for item in found):
        return Examination(
            workspace=root, fingerprint=None, artifacts=0, found=tuple(found)
        )  # fmt: skip
    try:
        catalogue = Catalogue(root, read_only=not (repair or sign))
    except NoRoom as full:
        found.append(error("workspace", full.what, full.where or root, full.todo or ""))
        catalogue = Catalogue(root, read_only=True)
        repair = sign = False
    try:
        if old := _catalogue.old_schema(catalogue):
            found.append(old)
        place = Place(root=root, config=config, catalogue=catalogue)
        for part in _parts(place, found, old=old is not None, repair=repair, files=files):
            settle(part(), by=repair)
        return Examination(
            workspace=root,
            fingerprint=catalogue.keys.fingerprint(),
            artifacts=len(catalogue.listed()),
            found=tuple(found),
        )
    finally:
        catalogue.close()


def _parts(
    place: Place, found: list[Trouble], *, old: bool, repair: bool, files: bool
) -> Iterator[Callable[[], Iterable[Case]]]:
    """The parts to look at, in the order in which they are mended."""
    yield lambda: _workspace.keys(place)
    yield lambda: _catalogue.foreign_keys(place.catalogue)
    yield lambda: _workspace.deletions(place)
    receipts, bad = _workspace.readable_receipts(place)
    yield lambda: bad
    yield lambda: _artifacts.listed(place, files=files)
    yield lambda: _artifacts.unlisted(place, receipts, files=files)
    yield lambda: _workspace.strays(place, receipts)
    if repair and any(item.check == _catalogue.CHECK for item in found):
        _catalogue.saved_rows(place.catalogue)
    yield lambda: _artifacts.of_the_workspace(place, files=files)
    yield lambda: [] if old else _workspace.promotions(place)
    yield lambda: [] if old else _workspace.server_keys(place)
    yield lambda: _artifacts.unfinished(place)
    yield lambda: _workspace.erased_pages(place, receipts)
    yield lambda: _workspace.withdrawals(place)
    yield lambda: _workspace.caches(place)
    yield lambda: _workspace.locks(place)
    yield lambda: _workspace.settings(place)
    yield lambda: _workspace.clocks(place, datetime.datetime.now(datetime.UTC))


def _config(root: Path) -> tuple[Config, list[Trouble]]:
    try:
        return read_config(root / CONFIG_FILE), []
    except InvalidInput as wrong:
        told = error("settings", wrong.what, wrong.where or root, wrong.todo or "Correct it.")
        return Config(), [told]
    except OSError as wrong:
        told = note("settings", f"{CONFIG_FILE} cannot be read: {wrong}", root, "Write it again.")
        return Config(), [told]
