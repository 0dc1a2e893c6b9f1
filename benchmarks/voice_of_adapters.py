"""Do a client's adapter's drafts sound more like the client than those of a prompted base?

    python benchmarks/voice_of_adapters.py [--brands 18f carpentries] [--briefs 40] [--epochs 4]
        [--pages 96] [--voice-weighted] [--lora-r 16] [--learning-rate 1e-3]
        [--temperature 0.7] [--best-of 1]

For each real brand: a LoRA adapter is trained on the newest of its older pages, and drafts are
written for briefs read off its held-out newest fifth, by the adapter, by the base with the style
guide and three of the brand's pages in its prompt, and by the base alone, all through the serving
engine and drawn alike. The drafts of a brief are cut to the same number of words, those of the
shortest.

Each text is attributed, names masked, by the voice measure (probability of at least one half), by
Burrows's Delta and by the compression distance (nearer to the brand's older pages than to what the
base wrote about their titles; `delta_margin` and `compression_margin` say by how much).
`delta_nearest` asks more: nearer to the brand than to the base and to each of the ten other brands.
None of them chose a draft; with `--best-of N` the voice measure chose one of N by adapter and
prompted base alike, and its own figures then say nothing.
Printed: shares of drafts attributed to the brand, of real held-out pages too; the difference of
adapter and prompted base, paired by brief, with its 95% bootstrap interval; and the longest run of
words that stands in the pages the adapter was trained on.

Adapters, checkpoints and drafts are kept: a run that was cut off goes on. `voice_levers.py` runs
this with one setting after another moved.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

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
    BurrowsDelta,
    Interval,
    VoiceModel,
    compression_distance,
    cut_words,
    fit_voice,
    mask,
    mean_difference,
    prose,
)
from copydesk.models import (
    BaseInfo,
    BaseStore,
    encode_examples,
    find_method,
    load_base,
    load_tokenizer,
    pick_device,
    template_digest,
)
from copydesk.records import AdapterRef, Document, Generate, Message, Sampling, StyleGuide
from copydesk.serve import EngineSettings, LocalEngine, start_engine
from copydesk.store import default_cache, json_digest
from copydesk.study import prompted_chat
from copydesk.train import Recipe, make_settings, tune

WRITERS = ("adapter", "prompted", "base")
FIGURES = (
    "voice",
    "probability",
    "delta",
    "delta_margin",
    "delta_nearest",
    "compression",
    "compression_margin",
    "longest_run",
)
LEARNED_DRAFTS = 24
"""Drafts of the base about older titles that the measures know it by."""
GUIDE_WORDS = 400
"""Of the style guide: a whole one would leave no room for pages in the prompt of a small base."""
CONTRAST_PAGES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What attributes a text to a brand."""

    voice: VoiceModel
    delta: BurrowsDelta
    profiles: tuple[str, str]
    """Masked text of the brand and of the base, of the same length."""
    delta_of_all: BurrowsDelta
    """Of the brand, the base and all other brands."""
    index: TrainingIndex

    def judge(self, text: str) -> dict[str, float]:
        distances = self.delta.distances(text)
        delta = distances["base"] - distances["own"]
        masked = mask(text)
        own, base = (compression_distance(masked, profile) for profile in self.profiles)
        all_deltas = self.delta_of_all.distances(text)
        run = self.index.longest_run(text)
        probability = self.voice.judge(text).probability
        return {
            "voice": float(probability >= 0.5),
            "probability": probability,
            "delta": float(delta > 0),
            "delta_margin": delta,
            "delta_nearest": float(min(all_deltas, key=lambda name: all_deltas[name]) == "own"),
            "compression": float(own < base),
            "compression_margin": base - own,
            "longest_run": float(run.words if run else 0),
        }


def main() -> None:
    emit(compared(arguments()))


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """Train, write, judge: the benchmark's line."""
    info = BaseStore(default_cache()).pull("smollm2-135m")
    brands = read_brands([])
    folder = options.folder or drafts_folder()
    rows: dict[str, list[dict[str, dict[str, float]]]] = {}
    real: dict[str, list[dict[str, float]]] = {}
    for name in options.brands:
        brand = brands[name]
        pages = spread(brand.heldout, options.briefs)
        known = of_base(brand, info, folder, options)
        learned = brand.train[-options.pages :]
        if options.voice_weighted:
            learned = voice_weighted(learned, brands, known)
        candidates = write_all(brand, pages, learned, info, folder, options)
        measures = learn(brand, brands, learned, known)
        drafts = {writer: best(found, measures) for writer, found in candidates.items()}
        rows[name], real[name] = judged(pages, drafts, measures)
        print(name, json.dumps(shares(rows[name])), file=sys.stderr, flush=True)
    return line(rows, real, options)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--brands", nargs="+", default=["18f", "carpentries", "bitcoin-optech"])
    parser.add_argument("--briefs", type=int, default=40, help="of each brand")
    parser.add_argument("--pages", type=int, default=96, help="newest older pages to train on")
    parser.add_argument(
        "--voice-weighted",
        action="store_true",
        help="the half of the pages that sounds most like the client is shown three times as "
        "often as the other, in half the epochs",
    )
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lora-r", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--max-length", type=int, default=400, help="tokens of a page")
    parser.add_argument("--temperature", type=float, default=SAMPLING.temperature)
    parser.add_argument(
        "--best-of", type=int, default=1, help="drafts of adapter and prompted base"
    )
    parser.add_argument("--rows", type=int, default=16, help="drafts written at once")
    parser.add_argument("--folder", type=Path, default=None, help="what is kept between runs")
    return parser.parse_args(given)


def of_base(brand: Brand, info: BaseInfo, folder: Path, options: argparse.Namespace) -> list[str]:
    """What the base writes about older titles of the brand."""
    older = spread(brand.train, LEARNED_DRAFTS)
    name = drafts_file("served-base-older", info.digest, brand.name)
    with Desk(info, options.rows) as desk:
        write = desk.writer(asked, None, SAMPLING)
        return list(written(folder / name, older, write, rows=options.rows).values())


def voice_weighted(
    pages: Sequence[Document], brands: dict[str, Brand], drafts: Sequence[str]
) -> list[Document]:
    """The pages, and twice more the half of them that a voice learned from the others knows best.

    Each half of the pages is judged by what was learned from the other half.
    """
    name = pages[0].client
    likeness: dict[str, float] = {}
    for side in (0, 1):
        voice = fit_voice(
            [page.text for page in pages[1 - side :: 2]],
            other_texts(name, brands),
            drafts=drafts,
            names=NAMES[name],
        )
        for page in pages[side::2]:
            plain = prose(page.text)
            known = word_count(plain) >= LEAST_WORDS
            likeness[page.id] = voice.judge(plain).probability if known else 0.0
    best_first = sorted(pages, key=lambda page: (-likeness[page.id], page.id))
    return [*pages, *2 * best_first[: len(pages) // 2]]


def write_all(
    brand: Brand,
    pages: Sequence[Document],
    learned: Sequence[Document],
    info: BaseInfo,
    folder: Path,
    options: argparse.Namespace,
) -> dict[str, list[dict[str, str]]]:
    """Writer -> page's id -> draft, for each candidate."""
    key, trained = adapter(brand.name, learned, info, folder, options)
    ref = AdapterRef(name=brand.name, path=trained, digest=key, base_digest=info.digest)
    tokenizer = load_tokenizer(info)
    guide, shown = style_guide(brand.name), shown_pages(brand.train)

    def prompted(page: Document) -> Sequence[Message]:
        return prompted_chat(asked(page), guide, shown, tokenizer)

    makers: dict[str, tuple[Callable[[Document], Sequence[Message]], AdapterRef | None]] = {
        "adapter": (asked, ref),
        "prompted": (prompted, None),
        "base": (asked, None),
    }
    found: dict[str, list[dict[str, str]]] = {}
    with Desk(info, options.rows) as desk:
        for writer, (chat, by) in makers.items():
            for seed in range(1, 1 + (1 if writer == "base" else options.best_of)):
                sampling = replace(SAMPLING, temperature=options.temperature, seed=seed)
                name = drafts_file(
                    f"served-{writer}", key if by else info.digest, brand.name, sampling
                )
                write = desk.writer(chat, by, sampling)
                drafts = written(folder / name, pages, write, rows=options.rows)
                found.setdefault(writer, []).append(drafts)
    return found


class Desk:
    """The serving engine, started when the first draft is missing."""

    def __init__(self, info: BaseInfo, rows: int) -> None:
        self._info, self._rows = info, rows
        self._engine: LocalEngine | None = None

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.stop()

    def writer(
        self,
        chat: Callable[[Document], Sequence[Message]],
        by: AdapterRef | None,
        sampling: Sampling,
    ) -> Callable[[list[Document]], Sequence[str]]:
        """A function that writes for pages at once, each drawn from a seed of its own."""

        def write(pages: list[Document]) -> Sequence[str]:
            if self._engine is None:
                device = pick_device()
                dtype = find_method("lora").dtype("auto", device)
                base = load_base(self._info, device=device, dtype=dtype)
                self._engine = start_engine(base, EngineSettings(max_running=self._rows))
            jobs = [
                self._engine.submit(
                    Generate(
                        prompt=tuple(chat(page)),
                        adapter=by,
                        sampling=replace(
                            sampling, seed=crc32(f"{sampling.seed}:{page.id}".encode())
                        ),
                    )
                )
                for page in pages
            ]
            return [job.result().completion.text for job in jobs]

        return write


def best(candidates: Sequence[dict[str, str]], measures: Measures) -> dict[str, str]:
    """Page's id -> the candidate that sounds most like the client; there may be one alone."""

    def likeness(text: str) -> float:
        plain = prose(text)
        if word_count(plain) < LEAST_WORDS:
            return -1.0
        return measures.voice.judge(plain).probability

    if len(candidates) == 1:
        return candidates[0]
    return {page: max((own[page] for own in candidates), key=likeness) for page in candidates[0]}


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
        "epochs": options.epochs // 2 if options.voice_weighted else options.epochs,
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


def other_texts(own: str, brands: dict[str, Brand]) -> dict[str, list[str]]:
    """Brand -> pages, of all brands but the one."""
    return {
        name: [page.text for page in spread(other.train, CONTRAST_PAGES)]
        for name, other in brands.items()
        if name != own
    }


def learn(
    brand: Brand, brands: dict[str, Brand], learned: Sequence[Document], drafts: Sequence[str]
) -> Measures:
    own = [page.text for page in brand.train]
    others = other_texts(brand.name, brands)
    texts = [" ".join(mask(prose(text)) for text in side) for side in (own[::-1], drafts)]
    length = min(map(len, texts))
    return Measures(
        voice=fit_voice(own, others, drafts=drafts, names=NAMES[brand.name]),
        delta=BurrowsDelta.fit({"own": own, "base": drafts}),
        profiles=(texts[0][:length], texts[1][:length]),
        delta_of_all=BurrowsDelta.fit({"own": own, "base": drafts, **others}),
        index=TrainingIndex.build((page.id, page.text) for page in learned),
    )


def judged(
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
        found.append({writer: measures.judge(text) for writer, text in cut.items()})
        original = cut_words(prose(page.text), 0, words)
        if word_count(original) >= LEAST_WORDS:
            real.append(measures.judge(original))
    return found, real


def shares(rows: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Writer -> means over briefs, and the longest run of all."""
    return {writer: summary([row[writer] for row in rows]) for writer in WRITERS if rows}


def summary(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    if not figures:
        return {}
    means = {key: round(statistics.mean(one[key] for one in figures), 4) for key in FIGURES}
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
            for key in (
                *("pages", "epochs", "lora_r", "learning_rate", "max_length"),
                *("voice_weighted", "temperature", "best_of"),
            )
        },
        "briefs": {name: len(found) for name, found in rows.items()},
        "ours": pooled["adapter"],
        "rival": {"name": "base with style guide and three pages", **pooled["prompted"]},
        "ratio": round(pooled["adapter"]["voice"] / max(pooled["prompted"]["voice"], 1e-9), 3),
        "base": pooled["base"],
        "real_pages": summary([one for found in real.values() for one in found]),
        "adapter_minus_prompted": {key: figure(difference(every, key)) for key in FIGURES},
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
