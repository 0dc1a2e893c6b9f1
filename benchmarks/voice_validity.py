"""Does the voice measure tell a brand's own pages from what only looks like them?

    python benchmarks/voice_validity.py [--brands 18f rust] [--drafts 8] [--folder DIR]

For each real brand a voice is learned from its older pages against those of the other brands and
what the base wrote about all brands' older titles. Its newest fifth is then told from
(a) pages of all other brands, (b) those of them that are nearest to it in topic (content words,
TF-IDF, three for each page), and (c) what the base wrote about the brand's own newest titles.
Everything is done on whole pages and on their first 150 words, with names masked.

Printed: area under ROC against each, for Burrows's Delta on the same texts as the rival, and the
expected calibration error of the stated probabilities, own and others at even weight. `unseen` is
the area against the base's drafts of a voice that was learned without any of them.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _case import emit, versions
from _drafting import (
    NAMES,
    SAMPLING,
    Brand,
    asked,
    drafts_file,
    drafts_folder,
    read_brands,
    spread,
    written,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from copydesk.evaluate import (
    LEAST_WORDS,
    BatchContinuer,
    BurrowsDelta,
    calibration_error,
    cut_words,
    fit_voice,
    prose,
)
from copydesk.models import BaseStore, load_base, pick_device, pick_dtype, untuned
from copydesk.records import Document
from copydesk.store import default_cache

OWN_TESTED = 40
OTHERS_TESTED = 12
SHORT = 150
KINDS = ("brands", "topic", "drafts")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--brands", nargs="*", default=[])
    parser.add_argument("--drafts", type=int, default=5, help="of older and of newest titles each")
    parser.add_argument("--folder", type=Path, default=None, help="where drafts are kept")
    options = parser.parse_args()
    brands = read_brands([])
    tested = options.brands or list(brands)
    folder = options.folder or drafts_folder()
    drafts = base_drafts([brands[name] for name in tested], options.drafts, folder)
    learned = [text for older, _ in drafts.values() for text in older]
    rows = {name: judge_brand(name, brands, learned, drafts[name][1]) for name in tested}
    emit(
        {
            "benchmark": "voice-validity",
            "versions": versions("copydesk", "scikit-learn", "numpy", "torch"),
            "brands": len(tested),
            "drafts_a_brand": {"learned_from": options.drafts, "tested": options.drafts},
            **summary(rows),
            "by_brand": {name: row["auc"] for name, row in rows.items()},
        }
    )


def base_drafts(
    tested: Sequence[Brand], count: int, folder: Path
) -> dict[str, tuple[list[str], list[str]]]:
    """What the base writes about each brand's older and newest titles."""
    info = BaseStore(default_cache()).pull("smollm2-135m")
    device = pick_device()
    made: list[BatchContinuer] = []

    def write(pages: list[Document]) -> Sequence[str]:
        if not made:  # only where drafts are missing
            base = load_base(info, device=device, dtype=pick_dtype("auto", device))
            made.append(BatchContinuer(untuned(base), sampling=SAMPLING))
        return made[0].answer_chats([asked(page) for page in pages])

    found: dict[str, tuple[list[str], list[str]]] = {}
    for brand in tested:
        file = folder / drafts_file("base", info.digest, brand.name)
        halves = [spread(half, count) for half in (brand.train, brand.heldout)]
        texts = written(file, [*halves[0], *halves[1]], write, rows=2 * count)
        older, newest = ([texts[page.id] for page in half] for half in halves)
        found[brand.name] = (older, newest)
    return found


def judge_brand(
    name: str, brands: dict[str, Brand], learned: Sequence[str], drafts: Sequence[str]
) -> dict[str, Any]:
    """Learn one brand's voice and judge what it did not see."""
    own = [page.text for page in brands[name].train]
    rest = {other: brand for other, brand in brands.items() if other != name}
    others = {other: [page.text for page in brand.train] for other, brand in rest.items()}
    voice = fit_voice(own, others, drafts=learned, names=NAMES[name])
    unseen = fit_voice(own, others, names=NAMES[name])
    pooled = [text for texts in others.values() for text in texts[:40]]
    delta = BurrowsDelta.fit({"own": own, "others": [*pooled, *learned]})
    held = [page.text for page in spread(brands[name].heldout, OWN_TESTED)]
    foreign = [
        page.text for brand in rest.values() for page in spread(brand.heldout, OTHERS_TESTED)
    ]
    near = [foreign[at] for at in nearest(held, foreign)]
    sides = {"own": held, "brands": foreign, "topic": near, "drafts": drafts}
    found: dict[str, Any] = {"auc": {}, "stated": {}}
    for length, most in (("whole", None), (str(SHORT), SHORT)):
        texts = {side: usable(given, most) for side, given in sides.items()}
        said = {side: [voice.judge(text) for text in given] for side, given in texts.items()}
        by = {
            "ours": {side: [one.score for one in given] for side, given in said.items()},
            "delta": {side: [nearness(delta, t) for t in given] for side, given in texts.items()},
            "unseen": {side: [unseen.judge(t).score for t in texts[side]] for side in texts},
        }
        found["auc"][length] = {
            measure: {kind: area(scores["own"], scores[kind]) for kind in KINDS}
            for measure, scores in by.items()
        }
        found["stated"][length] = {
            side: [one.probability for one in given] for side, given in said.items()
        }
    print(name, json.dumps(found["auc"]), file=sys.stderr, flush=True)
    return found


def usable(texts: Sequence[str], most: int | None) -> list[str]:
    """The prose of those texts that are long enough to be judged, cut to so many words."""
    plain = [prose(text) for text in texts]
    return [cut_words(text, 0, most or len(text)) for text in plain if enough(text)]


def enough(plain: str) -> bool:
    return cut_words(plain, LEAST_WORDS - 1, LEAST_WORDS) != ""


def nearest(own: Sequence[str], others: Sequence[str]) -> list[int]:
    """The three others that are nearest to each text by content words, without repetition."""
    vectoriser = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    others_PF = vectoriser.fit_transform(map(prose, others))
    likeness = (vectoriser.transform(map(prose, own)) @ others_PF.T).toarray()
    return sorted({int(at) for row in likeness for at in np.argsort(-row)[:3]})


def nearness(delta: BurrowsDelta, text: str) -> float:
    """How much nearer a text is to the brand than to the others, by Delta."""
    distances = delta.distances(text)
    return distances["others"] - distances["own"]


def area(own: Sequence[float], others: Sequence[float]) -> float:
    """Area under ROC: the share of pairs in which the brand's own text scores higher."""
    truths = [1] * len(own) + [0] * len(others)
    return round(float(roc_auc_score(truths, [*own, *others])), 4)


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over brands, the worst brand, and the calibration error over all."""
    lengths = ("whole", str(SHORT))

    def figures(measure: str) -> dict[str, Any]:
        return {
            length: {kind: column(rows, length, measure, kind) for kind in KINDS}
            for length in lengths
        }

    ours, delta = figures("ours"), figures("delta")
    hard = [ours[length][kind]["mean"] for length in lengths for kind in ("topic", "drafts")]
    theirs = [delta[length][kind]["mean"] for length in lengths for kind in ("topic", "drafts")]
    return {
        "ours": {
            "auc": ours,
            "calibration_error": {length: calibration(rows, length) for length in lengths},
        },
        "rival": {"name": "Burrows's Delta", "auc": delta},
        "ratio": round(statistics.mean(hard) / statistics.mean(theirs), 4),
        "unseen": figures("unseen"),
    }


def column(rows: dict[str, dict[str, Any]], length: str, measure: str, kind: str) -> dict[str, Any]:
    values = {name: row["auc"][length][measure][kind] for name, row in rows.items()}
    worst = min(values, key=lambda name: values[name])
    return {
        "mean": round(statistics.mean(values.values()), 4),
        "worst": values[worst],
        "worst_brand": worst,
    }


def calibration(rows: dict[str, dict[str, Any]], length: str) -> float:
    """Own texts and others weigh the same in each brand, and so do the three kinds of others."""
    stated: list[float] = []
    truths: list[bool] = []
    weights: list[float] = []
    for row in rows.values():
        for side, probabilities in row["stated"][length].items():
            stated += probabilities
            truths += [side == "own"] * len(probabilities)
            share = 0.5 if side == "own" else 0.5 / len(KINDS)
            weights += [share / max(1, len(probabilities))] * len(probabilities)
    return round(calibration_error(stated, truths, weights=weights), 4)


if __name__ == "__main__":
    main()
