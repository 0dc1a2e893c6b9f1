"""Fit a client's voice: L2-regularised logistic regression over windows, folds by page.

Each of `FOLDS` models sees four fifths of the pages and scores the rest; the model that is kept is
their mean, which of linear models is linear again. Their scores on pages they did not see make the
reference and the calibration (Platt 1999, with his smoothed targets), so nothing is judged by what
it was fitted on.

Shape letters: N windows, P texts, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from copydesk.errors import NotEnoughText
from copydesk.evaluate._calibration import Platt, terms
from copydesk.evaluate._masking import hiding, mask, prose, words
from copydesk.evaluate._voice import GRID, VoiceModel, windows
from copydesk.evaluate._voice_features import Floats, Vocabulary

LEAST_PAGES: Final = 10
LEAST_OWN_WORDS: Final = 1500
"""Below these a client's voice is not fitted: five folds need two pages each, and attribution needs
a few thousand words an author (Luyckx and Daelemans 2011, "The Effect of Author Set Size and Data
Size"); the smallest clients that were tried had 2,100."""
FOLDS: Final = 5
MOST_OWN: Final = 200
MOST_CONTRAST: Final = 300
MOST_WINDOWS: Final = 6
"""Most own pages, contrast texts, and windows of each: they bound time and memory. More changed
nothing that the validity benchmark could see."""
_PENALTY: Final = 10.0
"""scikit-learn's C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """Texts as windows."""

    vectors_NF: Floats
    text_N: npt.NDArray[np.int64]
    """The text that a window is of."""
    words_N: npt.NDArray[np.int64]
    own_P: npt.NDArray[np.bool_]
    fold_P: npt.NDArray[np.int64]


def fit_voice(
    own: Sequence[str],
    contrast: Mapping[str, Sequence[str]],
    *,
    names: Sequence[str] = (),
    seed: int = 0,
) -> VoiceModel:
    """Learn to tell a client's pages from other texts by voice alone.

    Args:
        own: the client's pages, Markdown.
        contrast: whose texts -> texts, Markdown: other clients' pages, a base's drafts on the
            client's titles. Each of them is drawn from as often as the others.
        names: the client's brand, products and people, hidden in every text.
        seed: draws pages, where there are more than are used, and folds.

    Raises:
        NotEnoughText: fewer than `LEAST_PAGES` pages or `LEAST_OWN_WORDS` words on either side.
    """
    random = np.random.default_rng(seed)
    mine = [plain for plain in map(prose, own) if plain]
    theirs = {
        source: [plain for plain in map(prose, texts) if plain]
        for source, texts in sorted(contrast.items())
    }
    _check_enough("the client's own pages", mine)
    _check_enough("texts by others", [text for texts in theirs.values() for text in texts])
    used = [mine[at] for at in sorted(random.permutation(len(mine))[:MOST_OWN])]
    others = _drawn(theirs, random)
    hidden = hiding(names)
    masked = [
        [(mask(part, hidden), len(words(part))) for part in windows(text)[:MOST_WINDOWS]]
        for text in (*used, *others)
    ]
    vocabulary = Vocabulary.of([part for parts in masked for part, _ in parts])
    texts = _Texts(
        vectors_NF=np.stack([vocabulary.vector(part) for parts in masked for part, _ in parts]),
        text_N=np.array([at for at, parts in enumerate(masked) for _ in parts]),
        words_N=np.array([count for parts in masked for _, count in parts]),
        own_P=np.arange(len(masked)) < len(used),
        fold_P=np.concatenate(
            [random.permutation(np.arange(len(side)) % FOLDS) for side in (used, others)]
        ),
    )
    weights_F, bias, scores_N = _fit_folds(texts)
    reference, platt = _judged(texts, scores_N)
    return VoiceModel(
        vocabulary=vocabulary,
        weights_F=weights_F,
        bias=bias,
        platt=platt,
        reference=reference,
        names=tuple(names),
        facts={
            "own_pages": len(used),
            "own_words": int(texts.words_N[texts.own_P[texts.text_N]].sum()),
            "contrast_texts": len(others),
            "seed": seed,
        },
    )


def _check_enough(what: str, texts: Sequence[str]) -> None:
    total = sum(len(words(text)) for text in texts)
    if len(texts) < LEAST_PAGES or total < LEAST_OWN_WORDS:
        raise NotEnoughText(
            f"A voice is learned from {LEAST_PAGES} texts and {LEAST_OWN_WORDS:,} words on either"
            f" side; of {what} there are {len(texts)} with {total:,}",
            todo="Add more pages.",
        )


def _drawn(theirs: Mapping[str, Sequence[str]], random: np.random.Generator) -> list[str]:
    """Contrast texts, one of each source in turn, until there are enough."""
    queues = [
        [texts[int(at)] for at in random.permutation(len(texts))] for texts in theirs.values()
    ]
    longest = max(map(len, queues))
    turns = [queue[at] for at in range(longest) for queue in queues if at < len(queue)]
    return turns[:MOST_CONTRAST]


def _fit_folds(texts: _Texts) -> tuple[Floats, float, npt.NDArray[np.float64]]:
    """Mean weights [F] and bias of the folds' models, and each window's score [N] by the model
    that did not see its text. Each text weighs the same, and so do the two sides."""
    own_N = texts.own_P[texts.text_N]
    share_N = 1 / np.bincount(texts.text_N)[texts.text_N]
    scores_N = np.zeros(len(own_N))
    weights: list[Any] = []
    for fold in range(FOLDS):
        seen_N = texts.fold_P[texts.text_N] != fold
        weight_N = share_N[seen_N] * np.where(
            own_N[seen_N],
            0.5 / share_N[seen_N & own_N].sum(),
            0.5 / share_N[seen_N & ~own_N].sum(),
        )
        model: Any = LogisticRegression(C=_PENALTY, max_iter=1000)
        model.fit(
            texts.vectors_NF[seen_N], own_N[seen_N], sample_weight=weight_N * int(seen_N.sum())
        )
        scores_N[~seen_N] = model.decision_function(texts.vectors_NF[~seen_N])
        weights.append(np.append(model.coef_[0], model.intercept_))
    mean = np.mean(weights, axis=0)
    return mean[:-1].astype(np.float32), float(mean[-1]), scores_N


def _judged(
    texts: _Texts, scores_N: npt.NDArray[np.float64]
) -> tuple[dict[int, tuple[float, ...]], Platt]:
    """Own pages' scores at each length of the grid, and the calibration over all texts."""
    reference: dict[int, list[float]] = {at: [] for at in (*GRID, 0)}
    cases: list[tuple[float, float, float]] = []
    owns: list[bool] = []
    shares: list[float] = []
    for text, own in enumerate(texts.own_P):
        of_text = texts.text_N == text
        scores, counts = scores_N[of_text], texts.words_N[of_text]
        lengths = sorted({min(at, len(scores)) for at in (*GRID, len(scores))})
        for at in lengths:
            cases.append(terms(float(scores[:at].mean()), int(counts[:at].sum())))
            owns.append(bool(own))
            shares.append(1 / len(lengths))
        if own:
            for at in GRID:
                reference[at].append(float(scores[:at].mean()))
            reference[0].append(float(scores.mean()))
    return (
        {at: tuple(sorted(found)) for at, found in reference.items()},
        _platt(np.array(cases), np.array(owns), np.array(shares)),
    )


def _platt(cases: Any, owns: Any, shares: Any) -> Platt:
    """Fit the curve by maximum likelihood, sides at even odds.

    Platt's targets, (n + 1) / (n + 2) for own and 1 / (n + 2) for others, are given as a case of
    each label, weighed by the target: without them separable scores have no finite curve.
    """
    target = np.where(owns, (owns.sum() + 1) / (owns.sum() + 2), 1 / ((~owns).sum() + 2))
    even = shares * np.where(owns, 0.5 / shares[owns].sum(), 0.5 / shares[~owns].sum())
    even *= len(owns)
    curve: Any = LogisticRegression(C=1e4, max_iter=1000)
    curve.fit(
        np.concatenate([cases, cases]),
        np.repeat([True, False], len(cases)),
        sample_weight=np.concatenate([even * target, even * (1 - target)]),
    )
    slope, length_slope, length = map(float, curve.coef_[0])
    return Platt(
        slope=slope, length_slope=length_slope, length=length, offset=float(curve.intercept_[0])
    )
