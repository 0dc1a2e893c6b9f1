"""`write`: drafts by a client's version, each checked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

from copydesk.content import Standards, language_name, language_of, sampling_for, write_draft
from copydesk.desk._checking import client_standards
from copydesk.desk._models import load_version
from copydesk.desk._place import DATASETS, Place, client_material
from copydesk.desk._promoting import request_version, tell_outcome
from copydesk.desk._voice import usual_voice, voice_of, with_voice
from copydesk.errors import Busy, Cancelled, CopydeskError, InvalidInput
from copydesk.evaluate import VoiceModel
from copydesk.records import Brief, Completer, Document, Draft, StyleGuide
from copydesk.registry import Version
from copydesk.serve import Writer

_KNOWN_FORMATS = ("blog", "product", "social", "doc")
_PAGES_READ = 50
"""Pages whose language and format are looked at: a client's pages are much alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSettings:
    """How drafts are sampled and chosen."""

    temperature: float = 0.7
    top_p: float = 0.9
    seed: int = 0
    candidates: int = 1
    """Drafts written for each that is kept: the one with the least against it."""
    variants: int = 1
    """Drafts kept for each brief."""


def write_drafts(
    place: Place,
    ref: str,
    briefs: Sequence[Brief],
    *,
    settings: WriteSettings,
    on_text: Callable[[str], None] | None,
    completer: Callable[[Version], Completer] | None = None,
    request_id: str = "",
) -> Iterator[Draft]:
    """Load the version once, then write and check every brief, one after another.

    With a `completer` nothing is loaded: it gives the writer of a version, as a running engine can.

    All briefs of a call are one request: a canary gives them one version, and how they end counts
    once.

    Raises:
        InvalidInput: a brief is of a format that the client does not know, or in another language
            than its pages; before anything is loaded.
    """
    asked = {"briefs": [asdict(brief) for brief in briefs], **asdict(settings)}
    if request_id:
        asked["request_id"] = request_id
    drawn = request_version(place, ref, asked)
    version = drawn.version
    standards = client_standards(place, version.client).standards
    voice = usual_voice(place, version.client)
    _refuse_strangers(place, version.client, briefs, standards.guide)
    wrong = 0
    try:
        writer = (
            completer(version)
            if completer is not None
            else Writer(load_version(place, version), name=version.name)
        )
        for made in _written(writer, version.client, briefs, settings, standards, voice, on_text):
            draft = replace(made, request_id=request_id)
            wrong += any(found.severity == "error" and not found.waived for found in draft.findings)
            yield draft
    except CopydeskError as error:
        # That somebody hung up, or that the engine had no room, says nothing of the version.
        if not isinstance(error, Cancelled | Busy):
            tell_outcome(place, drawn, findings=wrong > 0, error=True)
        raise
    tell_outcome(place, drawn, findings=wrong > 0, error=False)


def _written(
    writer: Completer,
    client: str,
    briefs: Sequence[Brief],
    settings: WriteSettings,
    standards: Standards,
    voice: VoiceModel | None,
    on_text: Callable[[str], None] | None,
) -> Iterator[Draft]:
    for brief in briefs:
        for variant in range(settings.variants):
            sampling = sampling_for(
                brief,
                guide=standards.guide,
                temperature=settings.temperature,
                top_p=settings.top_p,
                seed=settings.seed + variant * settings.candidates,
            )
            draft = write_draft(
                brief,
                writer,
                client=client,
                sampling=sampling,
                on_text=on_text,
                standards=standards,
                candidates=settings.candidates,
                voice=voice_of(voice) if settings.candidates > 1 else None,
            )
            yield with_voice(replace(draft, variant=variant + 1), voice)


def _refuse_strangers(
    place: Place, client: str, briefs: Sequence[Brief], guide: StyleGuide
) -> None:
    """Refuse formats nobody knows and briefs in another language than the client's pages."""
    pages = (
        list(islice(client_material(place, client)[0], _PAGES_READ))
        if place.catalogue.latest(DATASETS, client) is not None
        else []
    )
    formats = {page.format for page in pages if isinstance(page, Document)}
    known = sorted({*_KNOWN_FORMATS, *guide.length, *formats})
    spoken = language_of(" ".join(page.own_words for page in pages))
    for brief in briefs:
        where = brief.title or brief.keyword
        if brief.format not in known:
            raise InvalidInput(
                f"{client} has no format {brief.format!r}",
                where=where,
                todo=f"Formats are {', '.join(known)}; a [length] in its style guide adds one.",
            )
        said = [brief.title, *brief.points, *(fact.text for fact in brief.facts), *brief.experience]
        asked = language_of(" ".join(said))
        if asked and spoken and asked != spoken:
            raise InvalidInput(
                f"The brief is in {language_name(asked)}, and {client}'s pages are in"
                f" {language_name(spoken)}",
                where=where,
                todo="Translate it: the model writes in the language of its pages.",
            )
