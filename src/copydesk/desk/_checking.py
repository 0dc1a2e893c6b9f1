"""`check`: what a client's drafts are checked against, put together from the workspace."""

import functools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from copydesk.content import (
    ClientRules,
    Page,
    ShingleIndex,
    Standards,
    ValeStyles,
    check_batch,
    make_brief,
    read_client_rules,
    read_draft,
    read_vale_styles,
    rules_for,
)
from copydesk.desk._drafts import read_draft_record
from copydesk.desk._place import (
    DATASETS,
    Place,
    client_material,
    client_style_guide,
    client_training_index,
)
from copydesk.desk._results import Checked
from copydesk.desk._using import drop_if_gone
from copydesk.desk._voice import in_order, usual_voice, voice_findings
from copydesk.records import Brief
from copydesk.store import replace_bytes

RULES_FILE = "rules.toml"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStandards:
    """What a client's drafts are checked against, and what of its styles was skipped."""

    standards: Standards
    skipped: tuple[str, ...]
    """Vale rules of kinds that are not read."""


def client_standards(
    place: Place, client: str, *, waivers: Mapping[str, str] | None = None
) -> ClientStandards:
    """The client's guide, rules, waivers and styles; its pages; other clients' pages as hashes.

    Args:
        place: the workspace.
        client: whose drafts are checked.
        waivers: rule -> reason, beside those of the client's rules file.

    Raises:
        UnknownName: no such client.
        InvalidInput: one of its files cannot be used.
    """
    guide = client_style_guide(place, client)
    folder = place.client_folder(client)
    path = folder / RULES_FILE
    own = read_client_rules(path) if path.is_file() else ClientRules()
    found = folder / "styles"
    styles = read_vale_styles(found) if found.is_dir() else ValeStyles(rules=(), skipped=())
    rules = rules_for(Standards(guide=guide)).changed(own.rules, where=str(path))
    others = _other_clients(place, client)
    standards = Standards(
        guide=guide,
        rules=rules,
        index=client_training_index(place, client),
        others=(others,) if others is not None else (),
        styles=styles.rules,
        waivers={**own.waivers, **(waivers or {})},
    )
    return ClientStandards(standards=standards, skipped=styles.skipped)


def check_files(
    place: Place,
    client: str,
    paths: Sequence[Path],
    *,
    brief: Brief | None,
    waivers: Mapping[str, str],
) -> tuple[Checked, ...]:
    """Check draft files, and against one another.

    The brief is the one given, or the one that the draft was written from, or what the front matter
    says of it.
    """
    standards = client_standards(place, client, waivers=waivers).standards
    pages = (_page(path, brief) for path in paths)
    # Learned when the first file was read: a file that is missing leaves nothing in the cache.
    voice = functools.cache(lambda: usual_voice(place, client))
    checked: list[Checked] = []
    for page, findings in check_batch(pages, standards):
        heard = voice_findings(page.text, voice(), brief=page.brief)
        checked.append(Checked(path=Path(page.label), findings=in_order((*findings, *heard))))
    return tuple(checked)


def _page(path: Path, brief: Brief | None) -> Page:
    file = read_draft(path)
    record = path.with_suffix(".json")
    if brief is None and record.is_file():
        kept = read_draft_record(record)
        brief = kept.brief if kept is not None else None
    if brief is None:
        brief = make_brief(
            title=file.title or path.stem, keyword=file.keyword, format=file.format or "blog"
        )
    return Page(
        text=file.text,
        title=file.title,
        slug=file.slug,
        meta_description=file.meta_description,
        brief=brief,
        label=str(path),
    )


def _other_clients(place: Place, client: str) -> ShingleIndex | None:
    """All other clients' pages as keyed hashes; None where there are none."""
    key = _key(place)
    indexes = [
        _client_hashes(place, row.name, key)
        for row in place.catalogue.clients()
        if row.name != client and place.catalogue.latest(DATASETS, row.name) is not None
    ]
    return ShingleIndex.merged(indexes) if indexes else None


def _client_hashes(place: Place, client: str, key: bytes) -> ShingleIndex:
    """A client's pages as keyed hashes, kept in its own cache folder, which goes when it goes."""
    entry = place.catalogue.latest(DATASETS, client)
    assert entry is not None
    path = place.cache_folder(client) / f"shingles-{entry.number}.bin"
    if path.is_file():
        raw = path.read_bytes()
        if len(raw) % 8 == 0:
            hashes = np.frombuffer(raw, dtype="<u8").astype(np.uint64)
            return ShingleIndex(kind="client", hashes_S=hashes, key=key)
    pages = [page for part in client_material(place, client) for page in part]
    made = ShingleIndex.build((page.own_words for page in pages), kind="client", key=key)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(path, made.hashes.astype("<u8").tobytes())
    drop_if_gone(place, client, path.parent)
    return made


def _key(place: Place) -> bytes:
    """The workspace's secret, made on first use and readable by its owner alone."""
    path = place.root / "shingles.key"
    if not path.is_file() or path.stat().st_size != _KEY_BYTES:
        replace_bytes(path, secrets.token_bytes(_KEY_BYTES))
        path.chmod(0o600)
    return path.read_bytes()
