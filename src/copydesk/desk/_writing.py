"""`write`: drafts by a client's version, each checked."""

from collections.abc import Callable, Sequence

from copydesk.content import sampling_for, write_draft
from copydesk.desk._models import load_version
from copydesk.desk._place import Place, client_style_guide, client_training_index
from copydesk.desk._voice import usual_voice, with_voice
from copydesk.records import Brief, Draft
from copydesk.registry import find_version
from copydesk.serve import Writer


def write_drafts(
    place: Place,
    ref: str,
    briefs: Sequence[Brief],
    *,
    temperature: float,
    top_p: float,
    seed: int,
    on_text: Callable[[str], None] | None,
) -> tuple[Draft, ...]:
    """Load the version once, then write and check every brief."""
    version = find_version(place.catalogue, ref)
    guide = client_style_guide(place, version.client)
    index = client_training_index(place, version.client)
    voice = usual_voice(place, version.client)
    writer = Writer(load_version(place, version), name=version.name)
    drafts: list[Draft] = []
    for brief in briefs:
        draft = write_draft(
            brief,
            writer,
            client=version.client,
            guide=guide,
            sampling=sampling_for(
                brief, guide=guide, temperature=temperature, top_p=top_p, seed=seed
            ),
            on_text=on_text,
            index=index,
        )
        drafts.append(with_voice(draft, voice))
    return tuple(drafts)
