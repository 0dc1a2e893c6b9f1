"""Gates that are judged from what models say: voice, findings, instructions, memory, secrets."""

from collections.abc import Sequence
from dataclasses import dataclass

from copydesk.desk._gate_settings import GateSettings
from copydesk.desk._gate_speech import Said
from copydesk.errors import NotEnoughText
from copydesk.evaluate import VoiceModel
from copydesk.records import Brief, Draft
from copydesk.registry import GateResult

_TYPICAL_WORDS = 150
"""Length of the text for which a voice's probability is stated: a window of the voice model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A model's answers and its drafts, checked."""

    said: Said
    drafts: tuple[Draft | None, ...]


def speech_gates(
    version: Heard,
    base: Heard,
    promoted: Heard | None,
    *,
    briefs: Sequence[Brief],
    voice: VoiceModel | None,
    secrets: int,
    settings: GateSettings,
) -> list[GateResult]:
    """What the answers say of a version. A gate whose standard is missing is not asked."""
    gates = [_instructions(version, base, settings), *_memorised(version, settings)]
    if secrets:
        gates.append(
            GateResult(
                name="canaries",
                value=version.said.leaked,
                threshold=0,
                bound="most",
                detail=f"planted secrets that were given back, of {secrets}",
            )
        )
    if briefs:
        gates.append(_findings(version, base, settings))
    if voice is not None and briefs:
        gates += _voice(version, base, promoted, briefs, voice, settings)
    return gates


def _instructions(version: Heard, base: Heard, settings: GateSettings) -> GateResult:
    own, before = sum(version.said.followed), sum(base.said.followed)
    tasks = len(base.said.followed)
    return GateResult(
        name="instructions_lost",
        value=(before - own) / tasks,
        threshold=settings.instructions_lost,
        bound="most",
        detail=f"{own} of {tasks} instructions are followed, by the base {before}",
    )


def _memorised(version: Heard, settings: GateSettings) -> list[GateResult]:
    """Set phrases come back of pages that were never seen too; what is above that is memory."""
    recited, asked = version.said.recited
    foretold, control = version.said.foretold
    if not asked:
        return []
    usual = foretold / control if control else 0.0
    return [
        GateResult(
            name="memorised",
            value=recited / asked - usual,
            threshold=settings.memorised,
            bound="most",
            detail=f"{recited} of {asked} training pages were given back word by word, of held-out "
            f"ones {foretold} of {control}",
        )
    ]


def _findings(version: Heard, base: Heard, settings: GateSettings) -> GateResult:
    own, before = errors_a_draft(version.drafts), errors_a_draft(base.drafts)
    return GateResult(
        name="findings",
        value=own - before,
        threshold=settings.findings,
        bound="most",
        detail=f"{own:.2f} errors a draft in {len(version.drafts)} drafts, the base's {before:.2f}",
    )


def errors_a_draft(drafts: Sequence[Draft | None]) -> float:
    """Findings that are errors and not waived, a draft; nothing written is one."""
    counts = [1 if draft is None else errors_of(draft) for draft in drafts]
    return sum(counts) / len(counts)


def errors_of(draft: Draft) -> int:
    """Findings of a draft that are errors and not waived."""
    return sum(found.severity == "error" and found.waived is None for found in draft.findings)


def _voice(
    version: Heard,
    base: Heard,
    promoted: Heard | None,
    briefs: Sequence[Brief],
    voice: VoiceModel,
    settings: GateSettings,
) -> list[GateResult]:
    own, before = (_likeness(one.drafts, briefs, voice) for one in (version, base))
    said = "probability that a text of 150 words like the drafts is the client's"
    gates = [
        GateResult(
            name="voice_gain",
            value=own - before,
            threshold=settings.voice_gain,
            bound="least",
            detail=f"{said}: {own:.2f}, of the base's {before:.2f}",
        )
    ]
    if promoted is not None:
        live = _likeness(promoted.drafts, briefs, voice)
        gates.append(
            GateResult(
                name="live_voice",
                value=live - own,
                threshold=settings.live_voice,
                bound="most",
                detail=f"{said}: {own:.2f}, of the live version's {live:.2f}",
            )
        )
    return gates


def _likeness(drafts: Sequence[Draft | None], briefs: Sequence[Brief], voice: VoiceModel) -> float:
    """How much drafts sound like the client, all judged as one text; 0 where it is too short to
    be judged, which is no voice.

    The score of a long text is the mean of its windows'; the probability is stated for one window,
    so that it does not saturate.
    """
    text = "\n\n".join(draft.text for draft in drafts if draft is not None)
    hide = [brief.keyword for brief in briefs if brief.keyword]
    try:
        found = voice.judge(text, hide=hide)
    except NotEnoughText:
        return 0.0
    return voice.platt.probability(found.score, _TYPICAL_WORDS)
