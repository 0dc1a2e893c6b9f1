"""A draft from a brief: ask the completer, tidy what it says, check it, choose the best."""

import math
from collections.abc import Callable
from dataclasses import replace

from copydesk.content._check import NO_GUIDE, Standards, check, in_order
from copydesk.content._choose import Ranker, choose
from copydesk.content._long import is_long, titled, write_sections
from copydesk.content._meta import meta_description, slug
from copydesk.content._originality import TrainingIndex
from copydesk.content._prompts import page_messages
from copydesk.content._rules import default_rules
from copydesk.content._tidy import tidy
from copydesk.errors import InvalidInput
from copydesk.records import Brief, Completer, Draft, Finding, Sampling, StyleGuide

_USUAL_WORDS = 400
# Subword tokens an English word, Markdown and figures counted in; plain prose has 1.3 to 1.4.
_TOKENS_A_WORD = 1.6
_ROOM = 1.25
"""A length is an aim: a quarter more is left open, as the length check does."""
_SPARE_TOKENS = 16


def sampling_for(
    brief: Brief,
    *,
    guide: StyleGuide = NO_GUIDE,
    seed: int = 0,
    temperature: float = 0.7,
    top_p: float = 0.9,
    repetition_penalty: float = 1.1,
) -> Sampling:
    """How to sample a draft: enough tokens for the brief's length and a quarter more.

    A brief without a length is taken to want the most that the client's guide allows for its
    format, or else 400 words.
    """
    if brief.length_range is not None:
        words = brief.length_range[1] / _ROOM
    else:
        words = brief.length or guide.length.get(brief.format, (0, _USUAL_WORDS))[1]
    return Sampling(
        max_new_tokens=math.ceil(words * _ROOM * _TOKENS_A_WORD) + _SPARE_TOKENS,
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )


def write_draft(
    brief: Brief,
    completer: Completer,
    *,
    client: str,
    guide: StyleGuide = NO_GUIDE,
    sampling: Sampling | None = None,
    on_text: Callable[[str], None] | None = None,
    index: TrainingIndex | None = None,
    standards: Standards | None = None,
    candidates: int = 1,
    voice: Ranker | None = None,
) -> Draft:
    """Write a draft, tidy it and check it; of several candidates keep the best.

    The chat is the brief as the user's one turn, as in the examples that adapters are trained on;
    of long pages it is one for the outline and one a section.

    Args:
        brief: what to write; one without a title is given one.
        completer: the model; its name becomes the draft's version.
        client: whose draft it is.
        guide: the client's style guide; shorthand for standards with nothing else.
        sampling: how to sample; from the brief's length where left out. Candidates have its seed
            and those that follow.
        on_text: receives the model's text as it comes, before it is tidied.
        index: the client's training pages, likewise.
        standards: all that the draft is checked against.
        candidates: how many to write and choose from.
        voice: measures how near a draft is to its client's pages, for the choice.

    Raises:
        InvalidInput: the model wrote nothing, or nothing but the title, in all candidates.
    """
    standards = standards or Standards(guide=guide, index=index)
    sampling = sampling or sampling_for(brief, guide=standards.guide)
    brief = titled(brief, completer, sampling)
    drafts: list[Draft] = []
    seeds: list[int] = []
    for seed in range(sampling.seed, sampling.seed + candidates):
        own = replace(sampling, seed=seed)
        draft = _candidate(brief, completer, own, client, standards, on_text)
        if draft is not None:
            drafts.append(draft)
            seeds.append(seed)
    if not drafts:
        raise InvalidInput(
            f'{completer.name} wrote nothing for "{brief.title}"',
            todo="Try another seed or a higher temperature; if it stays silent, train it longer.",
        )
    return choose(drafts, seeds, voice=voice)


def _candidate(
    brief: Brief,
    completer: Completer,
    sampling: Sampling,
    client: str,
    standards: Standards,
    on_text: Callable[[str], None] | None,
) -> Draft | None:
    """One checked draft; None where nothing was written."""
    if is_long(brief):
        text, cut_off = write_sections(brief, completer, sampling, on_text)
    else:
        completion = completer.complete(page_messages(brief), sampling, on_text)
        cut_off = completion.finish_reason == "length"
        text = tidy(completion.text, title=brief.title, cut_off=cut_off)
    if not text:
        return None
    address, description = slug(brief.title), meta_description(text, keyword=brief.keyword)
    findings = list(
        check(
            text,
            title=brief.title,
            slug=address,
            meta_description=description or None,
            brief=brief,
            standards=standards,
        )
    )
    if cut_off:
        findings.append(_cut_off(sampling, end=len(text)))
    return Draft(
        client=client,
        version=completer.name,
        brief=brief,
        title=brief.title,
        slug=address,
        meta_description=description,
        text=text,
        findings=in_order(findings),
    )


def _cut_off(sampling: Sampling, *, end: int) -> Finding:
    return Finding(
        family="length",
        rule="cut-off",
        severity=default_rules().rules["length/cut-off"].severity,
        start=end,
        end=end,
        message=(
            f"The model was stopped at {sampling.max_new_tokens:,} tokens, and its unfinished"
            " last sentence was dropped. Read the end; raise max_new_tokens if it ends too soon."
        ),
        source="this draft's sampling settings",
    )
