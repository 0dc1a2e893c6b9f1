"""`write`: drafts by a client's version, each checked."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from copydesk.content import sampling_for, write_draft
from copydesk.desk._models import load_version
from copydesk.records import Brief, Draft
from copydesk.registry import find_version
from copydesk.serve import Writer

if TYPE_CHECKING:
    from copydesk.desk._workspace import Workspace


def write_drafts(
    workspace: "Workspace",
    ref: str,
    briefs: Sequence[Brief],
    *,
    temperature: float,
    top_p: float,
    seed: int,
    on_text: Callable[[str], None] | None,
) -> tuple[Draft, ...]:
    """Load the version once, then write and check every brief."""
    version = find_version(workspace.catalogue, ref)
    guide = workspace.style_guide(version.client)
    index = workspace.training_index(version.client)
    writer = Writer(load_version(workspace, version), name=version.name)
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
        drafts.append(draft)
    return tuple(drafts)
