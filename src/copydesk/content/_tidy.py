"""What a model said, made into a draft's text: no title on top, no torn end."""

import re

from copydesk.content._folding import fold_words
from copydesk.content._sentences import blocks, is_heading, is_item, sentence_ends

# What no page holds: controls but tab and newline, and halves of surrogate pairs.
_UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
_UNDERLINE = re.compile(r"\A(?:=+|-{2,})[ \t]*(?:\n|\Z)")
_BARE_MARKER = re.compile(r"\s*(?:[-*+>|]|\d{1,3}[.)])?\s*")


def tidy(text: str, *, title: str, cut_off: bool) -> str:
    """The completion as a draft's text; empty when nothing is left.

    Args:
        text: what the model said.
        title: a first line that only repeats it is dropped.
        cut_off: the model was stopped, so that its last sentence may be unfinished.
    """
    text = _UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    text = _without_title(text, title)
    return _finished(text) if cut_off else text


def _without_title(text: str, title: str) -> str:
    first, _, rest = text.partition("\n")
    words = fold_words(first)
    if words[:1] == ["title"]:
        words = words[1:] if words != fold_words(title) else words
    same = words == fold_words(title) if fold_words(title) else first.strip("# *") == title
    return _UNDERLINE.sub("", rest).strip() if same else text


def _finished(text: str) -> str:
    """Without a last sentence that has no end, and without a heading that it leaves bare."""
    # Only the last block can be torn: a blank line ended those before it.
    start, end = list(blocks(text))[-1] if text else (0, 0)
    kept = text[: start + _finished_length(text[start:end])].rstrip()
    while kept and is_heading(last := kept[kept.rfind("\n") + 1 :]):
        kept = kept[: len(kept) - len(last)].rstrip()
    # One sentence without an end is all there is: better than nothing.
    return kept or text


def _finished_length(block: str) -> int:
    """How much of a block's start is finished: to the last sentence's end or whole item."""
    last_line = block.rfind("\n") + 1
    ends = [end for end in sentence_ends(block) if not _BARE_MARKER.fullmatch(block[last_line:end])]
    best = ends[-1] if ends else 0
    at = 0
    for line in block.split("\n")[:-1]:
        at += len(line)
        if is_item(line):
            best = max(best, at)
        at += 1
    return best
