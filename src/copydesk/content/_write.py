"""A draft from a brief: ask the completer, tidy what it says, check it."""

import math
from collections.abc import Callable

from copydesk.content._check import NO_GUIDE, check, in_order
from copydesk.content._meta import meta_description, slug
from copydesk.content._originality import TrainingIndex
from copydesk.content._tidy import tidy
from copydesk.corpus import brief_text
from copydesk.errors import InvalidInput
from copydesk.records import Brief, Completer, Draft, Finding, Message, Sampling, StyleGuide

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
) -> Draft:
    """Write one draft, tidy it and check it.

    The chat is the brief as the user's one turn, as in the examples that adapters are trained on.

    Args:
        brief: what to write.
        completer: the model; its name becomes the draft's version.
        client: whose draft it is.
        guide: the client's style guide, for the checks.
        sampling: how to sample; from the brief's length where left out.
        on_text: receives the model's text as it comes, before it is tidied.
        index: the client's training pages, for the checks.

    Raises:
        InvalidInput: the model wrote nothing, or nothing but the title.
    """
    sampling = sampling or sampling_for(brief, guide=guide)
    messages = (Message(role="user", content=brief_text(brief)),)
    completion = completer.complete(messages, sampling, on_text)
    cut_off = completion.finish_reason == "length"
    text = tidy(completion.text, title=brief.title, cut_off=cut_off)
    if not text:
        raise InvalidInput(
            f'{completer.name} wrote nothing for "{brief.title}"',
            todo="Try another seed or a higher temperature; if it stays silent, train it longer.",
        )
    findings = list(check(text, title=brief.title, brief=brief, guide=guide, index=index))
    if cut_off:
        findings.append(_cut_off(sampling, end=len(text)))
    return Draft(
        client=client,
        version=completer.name,
        brief=brief,
        title=brief.title,
        slug=slug(brief.title),
        meta_description=meta_description(text),
        text=text,
        findings=in_order(findings),
    )


def _cut_off(sampling: Sampling, *, end: int) -> Finding:
    return Finding(
        family="length",
        rule="cut-off",
        severity="info",
        start=end,
        end=end,
        message=(
            f"The model was stopped at {sampling.max_new_tokens:,} tokens, and its unfinished"
            " last sentence was dropped. Read the end; raise max_new_tokens if it ends too soon."
        ),
        source="this draft's sampling settings",
    )
