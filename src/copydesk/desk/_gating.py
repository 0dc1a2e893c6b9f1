"""`eval`: all gates of a version, measured and recorded."""

import contextlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from copydesk.desk._checking import client_standards
from copydesk.desk._diffing import keep_samples
from copydesk.desk._gate_cache import GateCache
from copydesk.desk._gate_judging import Heard, speech_gates
from copydesk.desk._gate_losses import GateLosses, Losses, loss_gates, losses_of
from copydesk.desk._gate_models import GateModel, base_model, version_model
from copydesk.desk._gate_servable import servable_gates
from copydesk.desk._gate_settings import GateSettings
from copydesk.desk._gate_speech import checked_drafts, drafts_of, gate_briefs, hear
from copydesk.desk._gate_texts import GateTexts, gate_texts, material_of, unseen
from copydesk.desk._models import workspace_base
from copydesk.desk._place import Place, version_dataset
from copydesk.desk._results import Evaluated
from copydesk.desk._secrets import planted_secrets
from copydesk.desk._voice import voice_against
from copydesk.desk._withdrawing import learned_withdrawn
from copydesk.errors import CopydeskError, Damaged, UnknownName
from copydesk.evaluate import mean_loss
from copydesk.models import load_tokenizer
from copydesk.records import Listener, Progress
from copydesk.registry import (
    GateResult,
    Version,
    find_version,
    live_version,
    promoted_number,
    record_evaluation,
    versions,
)
from copydesk.store import held, open_artifact

_PACKAGES = ("copydesk", "torch", "transformers", "peft", "bitsandbytes", "scikit-learn")
_PROBED = 2
"""Held-out pages whose logits are compared and looked at."""
_PROBE_TOKENS = 256
_STEPS = ("whether it can be served", "losses", "what it writes", "the verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A version and what it is compared with."""

    place: Place
    version: Version
    promoted: Version | None
    """None where there is none to be compared with, see `_promoted`."""
    texts: GateTexts
    cache: GateCache
    settings: GateSettings
    base: GateModel

    @property
    def model(self) -> GateModel:
        return version_model(self.place, self.version)


def evaluate_version(place: Place, ref: str, *, listener: Listener) -> Evaluated:
    """Measure all gates of a version and record what they say; see `Workspace.evaluate`."""
    version = candidate(place, ref)
    settings = place.config.gates
    against = promoted_number(place.catalogue, version.client)
    info = workspace_base(place)

    def tell(step: int) -> None:
        doing = _STEPS[min(step, len(_STEPS) - 1)]
        task = f"eval {version.name}: {doing}"
        listener(Progress(task=task, done=step, total=len(_STEPS), unit="steps"))

    with held(place.locks, version.client, doing="evaluates it"):
        tell(0)
        matrix: Mapping[str, Mapping[str, float]] = {}
        tokenizer = load_tokenizer(info)
        texts = gate_texts(place, version, settings, tokenizer)
        probes = [one.ids[:_PROBE_TOKENS] for one in texts.heldout.examples[:_PROBED]]
        gates = servable_gates(place, version, probes, settings)
        if gates[0].passed:  # what cannot be loaded is not measured further
            case = _Case(
                place=place,
                version=version,
                promoted=_promoted(place, version, against, info.digest),
                texts=texts,
                cache=GateCache(place, version.client),
                settings=settings,
                base=base_model(place, method=version.method),
            )
            gates.append(_withdrawn(place, version))
            tell(1)
            losses = _losses(case)
            gates += loss_gates(version, losses, texts, settings)
            matrix = _matrix(version.client, losses)
            tell(2)
            gates += _spoken(case)
            tell(3)
        evaluation = record_evaluation(
            place.catalogue,
            version,
            gates,
            base=info.digest,
            against=against,
            thresholds=settings.digest,
            software=_software(),
        )
        tell(len(_STEPS))
    return Evaluated(version=version.name, evaluation=evaluation, losses=matrix)


def _promoted(
    place: Place, version: Version, against: int | None, base_digest: str
) -> Version | None:
    """The promoted version that this one is compared with.

    None where nothing was promoted or it is the version itself; where it is gone or damaged; and
    where it is bound to another base than the workspace's, on which it cannot speak any more. Then
    the base is what to beat.
    """
    if against is None or against == version.number:
        return None
    try:
        live = find_version(place.catalogue, f"{version.client}@{against}")
        open_artifact(live.path)
    except (UnknownName, Damaged):
        return None
    return live if live.inputs.get("base", base_digest) == base_digest else None


def candidate(place: Place, ref: str) -> Version:
    """The version that is to be judged: the one named, or without a number the newest.

    Raises:
        UnknownName, InvalidInput: as `registry.find_version`.
    """
    if "@" in ref:
        return find_version(place.catalogue, ref)
    found = versions(place.catalogue, ref)
    if not found:
        raise UnknownName(
            f"Client {ref!r} has no version yet", todo=f"Train one with: copydesk train {ref}"
        )
    return found[-1]


def _withdrawn(place: Place, version: Version) -> GateResult:
    marked = learned_withdrawn(place, version.name)
    return GateResult(
        name="withdrawn",
        value=int(marked),
        threshold=0,
        bound="most",
        detail="whether it or its base learned from a page that its owner withdrew since",
    )


def _losses(case: _Case) -> GateLosses:
    texts, cache, place = case.texts, case.cache, case.place
    others = {f"other {name}": text for name, text in texts.others.items()}
    every = {"heldout": texts.heldout, "train": texts.train, "general": texts.general, **others}
    own = {"heldout": texts.heldout}
    promoted: Losses | None = None
    fresh: tuple[int, ...] = ()
    if case.promoted is not None:
        promoted = losses_of(version_model(place, case.promoted), own, cache)["heldout"]
        known = version_dataset(place, case.promoted)
        seen = material_of(known)[0] if known else ()
        fresh = unseen(texts.heldout, texts.kept_back, seen)
    rivals: dict[str, Losses] = {}
    for name, rival in _rivals(case).items():
        with contextlib.suppress(Damaged):  # its own gates say so
            rivals[name] = losses_of(version_model(place, rival), own, cache)["heldout"]
    return GateLosses(
        version=losses_of(case.model, every, cache),
        base=losses_of(case.base, every, cache),
        promoted=promoted,
        unseen=fresh,
        rivals=rivals,
    )


def _rivals(case: _Case) -> dict[str, Version]:
    """What speaks for the other clients, as far as it is bound to this base."""
    found: dict[str, Version] = {}
    base = workspace_base(case.place).digest
    for name in case.texts.others:
        try:
            rival = live_version(case.place.catalogue, name)
        except CopydeskError:
            continue  # it has none
        if rival.inputs.get("base", base) == base:
            found[name] = rival
    return found


def _matrix(client: str, losses: GateLosses) -> Mapping[str, Mapping[str, float]]:
    """Whose version -> whose held-out pages -> loss, as far as the gates needed it."""
    own = {client: mean_loss(losses.version["heldout"])}
    base = {client: mean_loss(losses.base["heldout"])}
    for name in losses.version:
        if name.startswith("other "):
            whose = name.removeprefix("other ")
            own[whose] = mean_loss(losses.version[name])
            base[whose] = mean_loss(losses.base[name])
    rivals = {name: {client: mean_loss(found)} for name, found in losses.rivals.items()}
    return {"base": base, client: own, **rivals}


def _spoken(case: _Case) -> list[GateResult]:
    place, client, settings = case.place, case.version.client, case.settings
    briefs = gate_briefs(case.texts.kept_back, settings.briefs, settings)
    lessons = gate_briefs(case.texts.trained, settings.lessons, settings)
    secrets = planted_secrets(place)
    standards = client_standards(place, client).standards

    def heard(model: GateModel, *, recite: bool = False) -> Heard:
        said = hear(model, case.texts, briefs, secrets, settings, case.cache, recite=recite)
        return Heard(said=said, drafts=checked_drafts(model.name, client, briefs, said, standards))

    own = heard(case.model, recite=True)
    named = zip((brief.title for brief in briefs), own.drafts, strict=True)
    keep_samples(case.cache, case.version, list(named))
    promoted = heard(version_model(place, case.promoted)) if case.promoted else None
    known = drafts_of(case.base, case.texts, lessons, case.cache)
    return speech_gates(
        own,
        heard(case.base),
        promoted,
        briefs=briefs,
        voice=voice_against(place, client, case.texts.trained, known),
        secrets=len(secrets),
        settings=settings,
    )


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
