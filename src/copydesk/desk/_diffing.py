"""`diff`: two versions of a client side by side: data, settings, scores, sample drafts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copydesk.corpus import each_material, material_example
from copydesk.desk._gate_cache import GateCache
from copydesk.desk._place import Place, version_dataset
from copydesk.errors import InvalidInput
from copydesk.records import Draft
from copydesk.registry import Evaluation, Version, find_version, newest_evaluation

_SCORES = (
    "heldout_loss",
    "tokens",
    "steps",
    "train_seconds",
    "trainable_parameters",
    "peak_memory_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One thing of both versions; None where a version has none."""

    name: str
    one: Any
    other: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PagesChanged:
    """How the training pages of the second version differ from the first's."""

    shared: int
    added: tuple[str, ...]
    """Ids of pages that only the second was trained on."""
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Ids of pages whose words or whose brief are not the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDraft:
    """A draft by each version from one brief; None where a version wrote nothing."""

    brief: str
    one: str | None
    other: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDiff:
    """Two versions of a client side by side."""

    one: str
    other: str
    inputs: tuple[Pair, ...]
    """Digests of base, dataset, template and run that differ."""
    pages: PagesChanged | None
    """None where a dataset is not in the catalogue any more."""
    settings: tuple[Pair, ...]
    """Settings that differ, the method among them."""
    scores: tuple[Pair, ...]
    """What training wrote down."""
    gates: tuple[Pair, ...]
    """Values of the gates that either was asked."""
    drafts: tuple[SampleDraft, ...]
    """From the briefs that both wrote when they were evaluated."""
    todo: str
    """What to do to see more; empty where all is there."""


def diff_versions(place: Place, one: str, other: str) -> VersionDiff:
    """See `Workspace.diff`."""
    first, second = find_version(place.catalogue, one), find_version(place.catalogue, other)
    if first.client != second.client:
        raise InvalidInput(
            f"{first.name} and {second.name} are of different clients",
            todo="Name two versions of one client.",
        )
    drafts = _drafts(place, first, second)
    judged = [
        newest_evaluation(place.catalogue, item.client, item.number) for item in (first, second)
    ]
    missing = [
        item.name
        for item, found in zip((first, second), judged, strict=True)
        if found is None or not drafts
    ]
    return VersionDiff(
        one=first.name,
        other=second.name,
        inputs=_differing(first.inputs, second.inputs),
        pages=_pages(place, first, second),
        settings=_differing(_settings(first), _settings(second)),
        scores=tuple(
            Pair(name=name, one=first.facts.get(name), other=second.facts.get(name))
            for name in _SCORES
        ),
        gates=_gates(*judged),
        drafts=drafts,
        todo=f"For gates and sample drafts of both: copydesk eval {' and '.join(missing)}"
        if missing
        else "",
    )


def keep_samples(
    cache: GateCache, version: Version, drafts: Sequence[tuple[str, Draft | None]]
) -> None:
    """Keep the drafts of an evaluation, (brief's title, draft), in the client's own folder."""
    record = {
        "samples": [
            {"brief": title, "text": draft.text if draft is not None else None}
            for title, draft in drafts
        ]
    }
    cache.keep(version.client, _asked(version), record)


def _drafts(place: Place, one: Version, other: Version) -> tuple[SampleDraft, ...]:
    """Drafts from the briefs that both versions wrote from."""
    cache = GateCache(place, one.client)
    found = [cache.find(item.client, _asked(item)) or {"samples": []} for item in (one, other)]
    texts = [{item["brief"]: item["text"] for item in kept["samples"]} for kept in found]
    return tuple(
        SampleDraft(brief=title, one=text, other=texts[1][title])
        for title, text in texts[0].items()
        if title in texts[1]
    )


def _asked(version: Version) -> dict[str, str]:
    return {"samples": version.digest}


def _settings(version: Version) -> Mapping[str, Any]:
    return {
        "method": version.method,
        "base": version.facts.get("base"),
        "dtype": version.facts.get("dtype"),
        **version.facts.get("settings", {}),
    }


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Pair, ...]:
    names = dict.fromkeys((*one, *other))
    return tuple(
        Pair(name=name, one=one.get(name), other=other.get(name))
        for name in names
        if one.get(name) != other.get(name)
    )


def _gates(one: Evaluation | None, other: Evaluation | None) -> tuple[Pair, ...]:
    values = [
        {gate.name: gate.value for gate in found.gates} if found else {} for found in (one, other)
    ]
    return tuple(
        Pair(name=name, one=values[0].get(name), other=values[1].get(name))
        for name in dict.fromkeys((*values[0], *values[1]))
    )


def _pages(place: Place, one: Version, other: Version) -> PagesChanged | None:
    entries = [version_dataset(place, item) for item in (one, other)]
    if entries[0] is None or entries[1] is None:
        return None
    before, after = (
        {item.id: material_example(item) for item in each_material(entry.path / "train.jsonl")}
        for entry in entries
        if entry is not None
    )
    both = [name for name in after if name in before]
    return PagesChanged(
        shared=sum(before[name] == after[name] for name in both),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in both if before[name] != after[name]),
    )
