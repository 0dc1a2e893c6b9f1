"""A client's voice model, kept beside its datasets, and what it says of drafts."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources

from copydesk.desk._place import DATASETS, Place, client_material, newest_dataset
from copydesk.desk._using import drop_if_gone
from copydesk.errors import AlreadyThere, Damaged, NoRoom, NotEnoughText
from copydesk.evaluate import LEAST_WORDS, VOICE_FORMAT, VoiceFeature, VoiceModel, general_chats
from copydesk.records import Brief, Draft, Finding, Material
from copydesk.store import building, json_digest, open_artifact

_FOLDER = "voice"
UNUSUAL_PERCENTILE = 5.0
"""A draft that scores below nineteen in twenty of the client's own pages is warned of: the usual 5%
level of a one-sided test."""
_SOURCE = "the client's own pages, each judged by a model that did not see it"


def client_voice(place: Place, client: str) -> VoiceModel:
    """The voice of a client's newest dataset, against other clients' pages and general texts.

    Fitted once for each set of datasets and kept in the client's cache folder.

    Raises:
        UnknownName: no such client, or none of its pages were curated yet.
        NotEnoughText: too few pages to learn a voice from.
    """
    dataset = newest_dataset(place, client)
    others = {
        row.name: entry
        for row in place.catalogue.clients()
        if row.name != client and (entry := place.catalogue.latest(DATASETS, row.name)) is not None
    }
    inputs = {"format": VOICE_FORMAT, "dataset": dataset.digest} | {
        f"contrast {name}": entry.digest for name, entry in others.items()
    }
    shelf = place.cache_folder(client) / _FOLDER
    target = shelf / json_digest(inputs)[:32]
    if target.is_dir():
        try:
            open_artifact(target)
            return VoiceModel.load(target)
        except Damaged:
            shutil.rmtree(target, ignore_errors=True)
    own = _texts(client_material(place, client)[0])
    contrast = {name: _texts(client_material(place, name)[0]) for name in others}
    model = _fitted(client, own, contrast)
    for old in shelf.glob("[0-9a-f]*"):
        shutil.rmtree(old, ignore_errors=True)
    try:
        with building(target, kind="voice", inputs=inputs) as artifact:
            model.save(artifact.path)
    except (AlreadyThere, NoRoom):  # another process was quicker; a full disk keeps none
        pass
    for name in (client, *others):
        drop_if_gone(place, name, target)
    return model


def voice_against(
    place: Place, client: str, own: Sequence[Material], drafts: Sequence[str]
) -> VoiceModel | None:
    """A client's voice, learned also against what a base writes of the client's titles.

    Nothing is so easily taken for a client as a base that was given its briefs. It is fitted anew
    each time and not kept. None where there is too little text.
    """
    contrast = {
        row.name: _texts(client_material(place, row.name)[0])
        for row in place.catalogue.clients()
        if row.name != client and place.catalogue.latest(DATASETS, row.name) is not None
    }
    try:
        return _fitted(client, _texts(own), contrast, drafts)
    except NotEnoughText:
        return None


def forget_voices(place: Place) -> None:
    """Remove all voice models: each was learned against the pages of the other clients too."""
    for folder in (place.root / "cache").glob(f"*/{_FOLDER}"):
        shutil.rmtree(folder)


def usual_voice(place: Place, client: str) -> VoiceModel | None:
    """The client's voice for checks; None where there is too little text, or none yet."""
    place.catalogue.client(client)
    if place.catalogue.latest(DATASETS, client) is None:
        return None
    try:
        return client_voice(place, client)
    except NotEnoughText:
        return None


def voice_findings(
    text: str, voice: VoiceModel | None, *, brief: Brief | None = None
) -> tuple[Finding, ...]:
    """What the voice model says of a draft; nothing where there is no model."""
    if voice is None:
        return ()
    hide = (brief.keyword,) if brief is not None and brief.keyword else ()
    try:
        said = voice.judge(text, hide=hide)
    except NotEnoughText:
        return (
            _finding(
                "too-short",
                f"The draft is too short to judge its voice, which takes {LEAST_WORDS} words.",
            ),
        )
    at = said.percentile
    unusual = at.value < UNUSUAL_PERCENTILE and said.probability < 0.5
    message = (
        f"The draft sounds more like the client than {at.value:.0f}% of its {said.pages} pages do"
        f" (95% interval {at.low:.0f} to {at.high:.0f}); probability {said.probability:.2f}."
    )
    if said.speaks_for:
        message += f" For it: {_names(said.speaks_for)}."
    if said.speaks_against:
        message += f" Against it: {_names(said.speaks_against)}."
    return (_finding("percentile", message, warn=unusual),)


def voice_of(voice: VoiceModel | None) -> Callable[[Draft], float | None] | None:
    """The measure that ranks candidates: the probability that a draft is the client's.

    It gives None for a draft that is too short to judge. None where there is no model.
    """
    if voice is None:
        return None

    def measure(draft: Draft) -> float | None:
        hide = (draft.brief.keyword,) if draft.brief.keyword else ()
        try:
            return voice.judge(draft.text, hide=hide).probability
        except NotEnoughText:
            return None

    return measure


def with_voice(draft: Draft, voice: VoiceModel | None) -> Draft:
    """The draft with the voice's findings among its own, in the order of the text."""
    found = (*draft.findings, *voice_findings(draft.text, voice, brief=draft.brief))
    return replace(draft, findings=in_order(found))


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings by where they start, then by rule, as `content.check` gives them."""
    return tuple(sorted(findings, key=lambda f: (f.start, f.rule, f.end, f.message)))


def _fitted(
    client: str,
    own: Sequence[str],
    contrast: Mapping[str, Sequence[str]],
    drafts: Sequence[str] = (),
) -> VoiceModel:
    # scikit-learn takes a second to import, and most calls find the model in the cache.
    from copydesk.evaluate import fit_voice

    general = {"general texts": [answer for _, _, answer in general_chats()]}
    return fit_voice(
        own,
        {**contrast, **_samples(own), **general},
        drafts=drafts,
        names=(client.replace("-", " "),),
    )


def _samples(own: Sequence[str]) -> dict[str, list[str]]:
    """Texts of the sample clients, unless they are the client's own."""
    known = set(own)
    found: dict[str, list[str]] = {}
    folder = resources.files("copydesk") / "samples"
    for brand in sorted(folder.iterdir(), key=lambda item: item.name):
        posts = brand / "posts.jsonl"
        if posts.is_file():
            lines = posts.read_text("utf-8").splitlines()
            texts = [json.loads(line)["body_markdown"] for line in lines]
            if known.isdisjoint(texts):
                found[f"sample {brand.name}"] = texts
    return found


def _texts(material: Sequence[Material]) -> list[str]:
    return [item.own_words for item in material]


def _names(features: Sequence[VoiceFeature]) -> str:
    return ", ".join(f'"{feature.name.strip()}"' for feature in features)


def _finding(rule: str, message: str, *, warn: bool = False) -> Finding:
    return Finding(
        family="voice",
        rule=rule,
        severity="warning" if warn else "info",
        start=0,
        end=0,
        message=message,
        source=_SOURCE,
    )
