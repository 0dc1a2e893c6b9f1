"""How much a text sounds like a client: a linear model over masked text, and what it says.

The model is fitted by `fit_voice` and needs numpy alone to judge. A text is cut into windows of
about 150 words; its score is the mean of theirs. What the score means is said in two ways: its
place among the client's own pages, each judged by a model that did not see it, at about the same
length; and a calibrated probability.

Kept as `voice.json` and `voice.safetensors`. It holds n-grams of masked text, function words and
shapes, never a client's sentences.

Shape letters: F features.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from copydesk.errors import Damaged, NotEnoughText
from copydesk.evaluate._calibration import WINDOW, Platt, share_interval
from copydesk.evaluate._intervals import Interval
from copydesk.evaluate._masking import cut_words, hiding, mask, prose, words
from copydesk.evaluate._voice_features import Floats, Vocabulary
from copydesk.store import json_bytes, read_json

VOICE_FORMAT: Final = "voice/1"
"""Raised with every change of masking or features: a model judges what it was fitted on."""
LEAST_WORDS: Final = 100
"""Words of prose below which no text is judged. Eder (2015, "Does Size Matter?") finds attribution
unreliable well above this; `benchmarks/voice_validity.py` measures 150 words."""
GRID: Final = (1, 2, 4)
"""Windows at which own pages are kept for comparison, beside whole pages."""
_SHOWN: Final = 5
_JSON, _TENSORS = "voice.json", "voice.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFeature:
    """One feature and how much it moved the score."""

    name: str
    """An n-gram of masked text: `x` stands for letters of content words, `_` for such a word."""
    weight: float
    """Above 0 it speaks for the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceScore:
    """What the model says of a text."""

    percentile: Interval
    """Percent of the client's own pages, unseen and of about this length, that score lower, and
    its 95% interval for want of more pages."""
    probability: float
    """That the text is the client's, if it were as likely as not beforehand; calibrated."""
    score: float
    """The linear model's; higher is more like the client."""
    words: int
    pages: int
    """Own pages that it was compared with."""
    speaks_for: tuple[VoiceFeature, ...]
    """The strongest first."""
    speaks_against: tuple[VoiceFeature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceModel:
    """A client's voice, ready to judge texts."""

    vocabulary: Vocabulary
    weights_F: Floats
    bias: float
    platt: Platt
    reference: Mapping[int, tuple[float, ...]]
    """Windows from a page's start -> scores of own pages by models that did not see them, sorted;
    0 is whole pages."""
    names: tuple[str, ...]
    """Names that are hidden in every text."""
    facts: Mapping[str, int]
    """Pages and words that it was fitted on, and the seed."""

    def judge(self, text: str, *, hide: Iterable[str] = ()) -> VoiceScore:
        """How much a Markdown text sounds like the client.

        Args:
            text: whole, or a part.
            hide: names and keywords of its brief, hidden beside the client's.

        Raises:
            NotEnoughText: it has fewer than `LEAST_WORDS` words of prose.
        """
        plain = prose(text)
        count = len(words(plain))
        if count < LEAST_WORDS:
            raise NotEnoughText(
                f"The text has {count} words of prose; a voice is judged from {LEAST_WORDS} on",
                todo="Judge a longer text, or several together.",
            )
        hidden = hiding((*self.names, *hide))
        parts = [self.vocabulary.vector(mask(part, hidden)) for part in windows(plain)]
        shares_F = self.weights_F * np.mean(parts, axis=0)
        score = float(shares_F.sum()) + self.bias
        own = self._reference(len(parts))
        below = int(np.searchsorted(own, score))
        percentile = share_interval(below, len(own))
        return VoiceScore(
            percentile=Interval(
                value=100 * percentile.value, low=100 * percentile.low, high=100 * percentile.high
            ),
            probability=self.platt.probability(score, count),
            score=score,
            words=count,
            pages=len(own),
            speaks_for=self._strongest(shares_F, sign=1),
            speaks_against=self._strongest(shares_F, sign=-1),
        )

    def save(self, folder: Path) -> None:
        """Write `voice.json` and `voice.safetensors` into a folder."""
        raw = {
            "format": VOICE_FORMAT,
            "characters": self.vocabulary.characters,
            "words": self.vocabulary.words,
            "bias": self.bias,
            "platt": asdict(self.platt),
            "reference": {str(key): scores for key, scores in self.reference.items()},
            "names": self.names,
            "facts": dict(self.facts),
        }
        (folder / _JSON).write_bytes(json_bytes(raw))
        tensors = {"weights": self.weights_F, "rarity": self.vocabulary.rarity_F}
        save_file(tensors, folder / _TENSORS)

    @classmethod
    def load(cls, folder: Path) -> "VoiceModel":
        """Read what `save` wrote.

        Raises:
            Damaged: a file is missing, or they do not belong together.
        """
        raw = read_json(folder / _JSON)
        try:
            tensors = load_file(folder / _TENSORS)
            model = _model(raw, tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise Damaged(
                f"The voice model cannot be read: {error}",
                where=str(folder),
                todo="Remove the folder; it is fitted again when it is needed.",
            ) from error
        return model

    def _reference(self, windows: int) -> tuple[float, ...]:
        """Own pages' scores at the longest length that is no longer than the text."""
        reached = [at for at in GRID if at <= windows]
        return self.reference[0 if windows > GRID[-1] else reached[-1]]

    def _strongest(self, shares_F: Floats, *, sign: int) -> tuple[VoiceFeature, ...]:
        """The features that moved the score most, without those that are a part of another."""
        names = self.vocabulary.names
        found: list[VoiceFeature] = []
        for place in np.argsort(-sign * shares_F, kind="stable"):
            weight = float(shares_F[place])
            if sign * weight <= 0 or len(found) == _SHOWN:
                break
            name = names[place]
            if not any(_overlap(name, other.name) for other in found):
                found.append(VoiceFeature(name=name, weight=weight))
        return tuple(found)


def windows(plain: str) -> list[str]:
    """Prose cut into parts of about `WINDOW` words, all of nearly the same length."""
    total = len(words(plain))
    parts = max(1, round(total / WINDOW))
    edges = [round(part * total / parts) for part in range(parts + 1)]
    return [cut_words(plain, start, stop) for start, stop in itertools.pairwise(edges)]


def _overlap(one: str, other: str) -> bool:
    first, second = one.strip(), other.strip()
    return first in second or second in first


def _model(raw: Any, tensors: Mapping[str, Any]) -> VoiceModel:
    if raw["format"] != VOICE_FORMAT:
        raise ValueError(f"its format is {raw['format']!r}, not {VOICE_FORMAT!r}")
    vocabulary = Vocabulary(
        characters=tuple(raw["characters"]), words=tuple(raw["words"]), rarity_F=tensors["rarity"]
    )
    shape = (len(vocabulary.names),)
    if tensors["weights"].shape != shape or vocabulary.rarity_F.shape != shape:
        raise ValueError("its weights are not those of its features")
    return VoiceModel(
        vocabulary=vocabulary,
        weights_F=tensors["weights"],
        bias=float(raw["bias"]),
        platt=Platt(**raw["platt"]),
        reference={int(key): tuple(scores) for key, scores in raw["reference"].items()},
        names=tuple(raw["names"]),
        facts=raw["facts"],
    )
