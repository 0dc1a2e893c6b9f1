"""Do a client's adapter's drafts sound more like the client than those of a prompted base?

    python benchmarks/voice_of_adapters.py [--brands 18f carpentries] [--briefs 40] [--epochs 4]

For each real brand: a LoRA adapter is trained on the newest of its older pages, and drafts are
written for briefs read off its held-out newest fifth, by the adapter, by the base with the style
guide and three of the brand's pages in its prompt, and by the base alone. The same sampling for
all. The drafts of a brief are cut to the same number of words, those of the shortest.

Each text is attributed, names masked, by the voice measure (probability of at least one half) and
by Burrows's Delta (the brand is nearest, among all brands and the base). Neither chose a draft.
Printed: shares of drafts attributed to the brand, of real held-out pages too; the difference of
adapter and prompted base, paired by brief, with its 95% bootstrap interval; and the longest run of
words that stands in the pages the adapter was trained on.

Adapters, checkpoints and drafts are kept: a run that was cut off goes on.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _case import BRANDS, emit, versions
from _drafting import (
    LENGTH,
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

from copydesk.content import TrainingIndex
from copydesk.corpus import material_example, word_count
from copydesk.evaluate import (
    LEAST_WORDS,
    BatchContinuer,
    BurrowsDelta,
    Interval,
    VoiceModel,
    cut_words,
    fit_voice,
    mean_difference,
    prose,
)
from copydesk.models import (
    BaseInfo,
    BaseStore,
    Tuned,
    default_cache,
    encode_examples,
    find_method,
    load_adapter,
    load_base,
    load_tokenizer,
    pick_device,
    template_digest,
    untuned,
)
from copydesk.records import Document, Message, StyleGuide
from copydesk.store import json_digest
from copydesk.study import prompted_chat
from copydesk.train import Recipe, make_settings, tune

WRITERS = ("adapter", "prompted", "base")
LEARNED_DRAFTS = 5
"""Drafts of the base about older titles that both measures know it by."""
GUIDE_WORDS = 400
"""Of the style guide: a whole one would leave no room for pages in the prompt of a small base."""
CONTRAST_PAGES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What attributes a text to a brand."""

    voice: VoiceModel
    delta: BurrowsDelta
    index: TrainingIndex

    def judge(self, text: str, brand: str) -> dict[str, float]:
        distances = self.delta.distances(text)
        run = self.index.longest_run(text)
        probability = self.voice.judge(text).probability
        return {
            "voice": float(probability >= 0.5),
            "probability": probability,
            "delta": float(min(distances, key=lambda name: distances[name]) == brand),
            "longest_run": float(run.words if run else 0),
        }


def main() -> None:
    options = arguments()
    info = BaseStore(default_cache()).pull("smollm2-135m")
    brands = read_brands([])
    folder = options.folder or drafts_folder()
    rows: dict[str, list[dict[str, dict[str, float]]]] = {}
    real: dict[str, list[dict[str, float]]] = {}
    for name in options.brands:
        brand = brands[name]
        pages = spread(brand.heldout, options.briefs)
        learned = brand.train[-options.pages :]
        drafts = write_all(brand, pages, learned, info, folder, options)
        measures = learn(brand, brands, learned, base_drafts(brand, info, folder))
        rows[name], real[name] = judged(name, pages, drafts, measures)
        print(name, json.dumps(shares(rows[name])), file=sys.stderr, flush=True)
    emit(line(rows, real, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--brands", nargs="+", default=["18f", "carpentries", "bitcoin-optech"])
    parser.add_argument("--briefs", type=int, default=40, help="of each brand")
    parser.add_argument("--pages", type=int, default=96, help="newest older pages to train on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lora-r", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--max-length", type=int, default=400, help="tokens of a page")
    parser.add_argument("--rows", type=int, default=16, help="drafts written at once")
    parser.add_argument("--folder", type=Path, default=None, help="what is kept between runs")
    return parser.parse_args()


def write_all(
    brand: Brand,
    pages: Sequence[Document],
    learned: Sequence[Document],
    info: BaseInfo,
    folder: Path,
    options: argparse.Namespace,
) -> dict[str, dict[str, str]]:
    """Writer -> page's id -> draft."""
    key, trained = adapter(brand.name, learned, info, folder, options)
    tokenizer = load_tokenizer(info)
    guide, shown = style_guide(brand.name), shown_pages(brand.train)

    def prompted(page: Document) -> Sequence[Message]:
        return prompted_chat(asked(page), guide, shown, tokenizer)

    makers: dict[str, tuple[str, Callable[[Document], Sequence[Message]], Path | None]] = {
        "adapter": ("adapter", asked, trained),
        "prompted": ("prompted", prompted, None),
        "base": ("base", asked, None),
    }
    found: dict[str, dict[str, str]] = {}
    for writer, (kind, chat, weights) in makers.items():
        models: list[BatchContinuer] = []

        def write(
            batch: list[Document],
            chat: Callable[[Document], Sequence[Message]] = chat,
            weights: Path | None = weights,
            models: list[BatchContinuer] = models,
        ) -> Sequence[str]:
            if not models:  # only where drafts are missing
                speaker = speaking(info, weights)
                models.append(BatchContinuer(speaker, sampling=SAMPLING, rows=options.rows))
            return models[0].answer_chats([chat(page) for page in batch])

        target = folder / drafts_file(kind, key if weights else info.digest, brand.name)
        found[writer] = written(target, pages, write, rows=options.rows)
    return found


def base_drafts(brand: Brand, info: BaseInfo, folder: Path) -> list[str]:
    """What the base wrote about older titles; the file is `voice_validity.py`'s too."""

    def write(batch: list[Document]) -> Sequence[str]:
        model = BatchContinuer(speaking(info, None), sampling=SAMPLING)
        return model.answer_chats([asked(page) for page in batch])

    file = folder / drafts_file("base", info.digest, brand.name)
    return list(written(file, spread(brand.train, LEARNED_DRAFTS), write).values())


def speaking(info: BaseInfo, weights: Path | None) -> Tuned:
    device = pick_device()
    dtype = find_method("lora").dtype("auto", device)
    base = load_base(info, device=device, dtype=dtype)
    return load_adapter(base, weights, bound_to=info.digest) if weights else untuned(base)


def adapter(
    name: str,
    learned: Sequence[Document],
    info: BaseInfo,
    folder: Path,
    options: argparse.Namespace,
) -> tuple[str, Path]:
    """The adapter's key and folder, trained where it is not there yet."""
    device = pick_device()
    own = {
        "epochs": options.epochs,
        "max_length": options.max_length,
        "lora_r": options.lora_r,
        "learning_rate": options.learning_rate,
    }
    run, method = make_settings("lora", own)
    tokenizer = load_tokenizer(info)
    recipe = Recipe(
        base=info,
        dataset_digest=json_digest([page.id for page in learned]),
        template_digest=template_digest(tokenizer),
        method="lora",
        run=run,
        own=method,
        dtype=find_method("lora").dtype("auto", device),
    )
    key = recipe.digest[:12]
    target = folder / f"adapter-{key}-{name}"
    if not (target / "adapter_config.json").is_file():
        examples = [material_example(page) for page in learned]
        encoded = encode_examples(tokenizer, examples, max_length=options.max_length).examples
        tuning = tune(
            recipe,
            encoded,
            encoded[-4:],  # the loop wants something to score; nothing is chosen by it
            device=device,
            folder=folder / f"run-{key}-{name}",
            task=name,
            listener=lambda p: print(f"{p.task} {p.done}/{p.total}", file=sys.stderr, flush=True),
        )
        tuning.save(target)
    return key, target


def style_guide(name: str) -> StyleGuide:
    """The voice as the corpus describes it, and the start of the organisation's own guide."""
    about = (BRANDS / name / "BRAND.md").read_text(encoding="utf-8")
    voice = about.partition("## Voice")[2].partition("\n## ")[0].strip()
    own = BRANDS / name / "style_guide.md"
    start = " ".join(own.read_text(encoding="utf-8").split()[:GUIDE_WORDS]) if own.exists() else ""
    return StyleGuide(voice=f"Write as this organisation does. {voice}\n\n{start}".strip())


def shown_pages(pages: Sequence[Document]) -> list[Any]:
    """Three older pages of about the length that is asked for, so that the prompt holds them."""
    near = sorted(pages, key=lambda page: (abs(word_count(page.text) - LENGTH), page.id))
    return [material_example(page) for page in near[:3]]


def learn(
    brand: Brand, brands: dict[str, Brand], learned: Sequence[Document], drafts: Sequence[str]
) -> Measures:
    own = [page.text for page in brand.train]
    others = {
        name: [page.text for page in spread(other.train, CONTRAST_PAGES)]
        for name, other in brands.items()
        if name != brand.name
    }
    return Measures(
        voice=fit_voice(own, {**others, "base": drafts}, names=NAMES[brand.name]),
        delta=BurrowsDelta.fit({**others, brand.name: own, "base": drafts}),
        index=TrainingIndex.build((page.id, page.text) for page in learned),
    )


def judged(
    name: str,
    pages: Sequence[Document],
    drafts: dict[str, dict[str, str]],
    measures: Measures,
) -> tuple[list[dict[str, dict[str, float]]], list[dict[str, float]]]:
    """For each brief whose drafts can all be judged, writer -> figures; and real pages' figures."""
    found: list[dict[str, dict[str, float]]] = []
    real: list[dict[str, float]] = []
    for page in pages:
        plain = {writer: prose(drafts[writer][page.id]) for writer in WRITERS}
        words = min(word_count(text) for text in plain.values())
        if words < LEAST_WORDS:
            continue
        cut = {writer: cut_words(text, 0, words) for writer, text in plain.items()}
        found.append({writer: measures.judge(text, name) for writer, text in cut.items()})
        original = cut_words(prose(page.text), 0, words)
        if word_count(original) >= LEAST_WORDS:
            real.append(measures.judge(original, name))
    return found, real


def shares(rows: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Writer -> means over briefs, and the longest run of all."""
    return {writer: summary([row[writer] for row in rows]) for writer in WRITERS if rows}


def summary(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    if not figures:
        return {}
    keys = ("voice", "probability", "delta", "longest_run")
    means = {key: round(statistics.mean(one[key] for one in figures), 4) for key in keys}
    runs = [one["longest_run"] for one in figures]
    return {**means, "longest_run_of_all": max(runs), "over_25_words": sum(r >= 25 for r in runs)}


def line(
    rows: dict[str, list[dict[str, dict[str, float]]]],
    real: dict[str, list[dict[str, float]]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    every = [row for found in rows.values() for row in found]
    if not every:
        sys.exit("No brief has drafts that are all long enough to be judged.")
    pooled = shares(every)
    return {
        "benchmark": "voice-of-adapters",
        "versions": versions("copydesk", "torch", "transformers", "peft", "scikit-learn"),
        "settings": {
            key: getattr(options, key)
            for key in ("pages", "epochs", "lora_r", "learning_rate", "max_length")
        },
        "briefs": {name: len(found) for name, found in rows.items()},
        "ours": pooled["adapter"],
        "rival": {"name": "base with style guide and three pages", **pooled["prompted"]},
        "ratio": round(pooled["adapter"]["voice"] / max(pooled["prompted"]["voice"], 1e-9), 3),
        "base": pooled["base"],
        "real_pages": summary([one for found in real.values() for one in found]),
        "adapter_minus_prompted": {
            key: figure(difference(every, key))
            for key in ("voice", "probability", "delta", "longest_run")
        },
        "by_brand": {name: shares(found) for name, found in rows.items()},
    }


def difference(rows: Sequence[dict[str, dict[str, float]]], key: str) -> Interval:
    return mean_difference(
        [row["adapter"][key] for row in rows], [row["prompted"][key] for row in rows]
    )


def figure(interval: Interval) -> list[float]:
    """[value, low, high]."""
    return [round(number, 4) for number in (interval.value, interval.low, interval.high)]


if __name__ == "__main__":
    main()
