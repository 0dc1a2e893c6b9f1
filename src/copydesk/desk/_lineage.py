"""`lineage`: from a draft or a version back to pages, their sources and the right to train."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copydesk.content import read_draft
from copydesk.corpus import each_material
from copydesk.desk._drafts import read_draft_record
from copydesk.desk._place import FOUNDATIONS, Place, version_dataset
from copydesk.desk._withdrawing import is_withdrawn, learned_withdrawn, withdrawn_pages
from copydesk.errors import Damaged, InvalidInput, UnknownName
from copydesk.records import Document, Lineage, LineageBase, LineagePage, Material
from copydesk.registry import Version, find_version, live_version, newest_evaluation
from copydesk.store import open_artifact

CLIENT_ONLY = "client only"
"""What stands for the right of a page that has none recorded."""


def trace(place: Place, what: str) -> Lineage:
    """The lineage of a draft's file, of `client@n`, or of what speaks for `client`.

    Raises:
        InvalidInput: the file is no draft that was written here.
        UnknownName: there is no such file, client or version.
    """
    path = Path(what).expanduser()
    if path.suffix in {".md", ".json"} or path.is_file():
        return _of_version(place, find_version(place.catalogue, _writer(path)), path)
    return _of_version(place, find_version(place.catalogue, what), None)


def lineages(place: Place) -> tuple[Lineage, ...]:
    """The lineage of every version that drafts kept here were written by."""
    found: list[Lineage] = []
    for row in place.catalogue.clients():
        folder = place.client_folder(row.name) / "drafts"
        records = (read_draft_record(file) for file in sorted(folder.glob("*.json")))
        for ref in dict.fromkeys(record.version for record in records if record is not None):
            try:
                found.append(_of_version(place, find_version(place.catalogue, ref), None))
            except (UnknownName, InvalidInput, Damaged):
                continue  # a version that went leaves its drafts without one
    return tuple(found)


def _writer(path: Path) -> str:
    """`client@n` that a draft says it was written by."""
    if not path.is_file():
        raise UnknownName(f"There is no draft {path.name}", where=str(path))
    record = path.with_suffix(".json")
    if record.is_file():
        draft = read_draft_record(record)
        if draft is not None:
            return draft.version
    if path.suffix == ".md":
        stated = read_draft(path).version
        if stated:
            return stated
    raise InvalidInput(
        "The draft does not say which version wrote it",
        where=str(path),
        todo="Name one that copydesk write kept, or a version: copydesk lineage CLIENT@NUMBER",
    )


def _of_version(place: Place, version: Version, draft: Path | None) -> Lineage:
    entry = version_dataset(place, version)
    trained = tuple(each_material(entry.path / "train.jsonl")) if entry else ()
    gone = withdrawn_pages(place, version.client)
    pages = tuple(_page(item, withdrawn=is_withdrawn(item, gone)) for item in trained)
    heldout = sum(1 for _ in each_material(entry.path / "heldout.jsonl")) if entry else 0
    rights = Counter(page.right or CLIENT_ONLY for page in pages)
    manifest = open_artifact(version.path, verify=False).manifest
    assert manifest is not None
    judged = newest_evaluation(place.catalogue, version.client, version.number)
    failed = [gate.name for gate in judged.gates if not gate.passed] if judged else []
    return Lineage(
        draft=str(draft) if draft else None,
        client=version.client,
        version=version.name,
        digest=version.digest,
        made=manifest.created,
        method=version.method,
        settings=version.facts.get("settings", {}),
        run=version.inputs.get("run", ""),
        template=version.inputs.get("template", ""),
        base=_base(place, version),
        dataset=f"{entry.client}/{entry.number}" if entry else None,
        dataset_digest=version.inputs.get("dataset", ""),
        pages=pages,
        heldout=heldout,
        withdrawn=sum(page.withdrawn for page in pages),
        rights=dict(sorted(rights.items(), key=lambda item: (-item[1], item[0]))),
        live=_speaks(place, version),
        evaluated=(", ".join(failed) or "passed") if judged else None,
    )


def _speaks(place: Place, version: Version) -> bool:
    try:
        return live_version(place.catalogue, version.client).number == version.number
    except Damaged:  # what was promoted is gone
        return False


def _page(item: Material, *, withdrawn: bool) -> LineagePage:
    page = item if isinstance(item, Document) else None
    return LineagePage(
        id=item.id,
        title=page.title if page else "",
        source=item.source,
        sha256=item.sha256,
        url=page.url if page else None,
        retrieved=page.retrieved if page else None,
        date=item.date,
        right=page.right if page else None,
        withdrawn=withdrawn,
    )


def _base(place: Place, version: Version) -> LineageBase:
    """The base by name, and what it was made from where it is one of the workspace's own."""
    name = str(version.facts.get("base", ""))
    digest = version.inputs.get("base", "")
    folder = place.root / FOUNDATIONS / name
    if not name or not folder.is_dir():
        return LineageBase(name=name, digest=digest)
    manifest = open_artifact(folder, verify=False).manifest
    assert manifest is not None
    facts: Mapping[str, Any] = manifest.facts
    return LineageBase(
        name=name,
        digest=digest,
        parent=facts.get("parent"),
        parent_digest=manifest.inputs.get("base"),
        rights=facts.get("rights", {}),
        withdrawn=learned_withdrawn(place, name),
    )
