"""How often is the method that is chosen within one interval of the best measured one?

    python benchmarks/choose_backtest.py [--cases 12] [--cells DIR]

A case is a client and a number of pages: real brands where `../shared/brands` is, sample brands
beside them or alone. Every method is run on every case, on short texts (160 tokens, the brief among
them, two epochs, the methods' default rates), and scored on the same held-out pages; a run is kept
in `--cells`, so that a benchmark that was stopped goes on. Then `study.choose` is asked for each
case, with the other cases as the workspace's comparisons and never its own; with no comparisons at
all; and with those of other clients only. A choice is a hit when the 95% interval of its held-out
loss minus that of the best measured method (paired bootstrap over pages) reaches zero. Always LoRA,
always full and so on are judged alike. Reported besides: the share of full fine-tuning's gain and
the training time that the choices come to, and how far LoRA's share differs from case to case,
which is what `between_clients_sd` in `study/rules.toml` stands for.

One client of its own is the question of quality; `agency` asks the same with 12 clients on one
base, where bases of their own are a burden and the choice should be an adapter.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _case import BRANDS, ROOT, SAMPLES, emit, versions

from copydesk.corpus import CurateSettings, curate, material_example
from copydesk.evaluate import loss_difference, mean_loss, score
from copydesk.models import (
    ATTENTION,
    BaseInfo,
    BaseStore,
    Encoded,
    ExampleLoss,
    encode_examples,
    find_method,
    load_base,
    load_tokenizer,
    pick_device,
    template_digest,
    untuned,
)
from copydesk.records import Comparison, MethodRow
from copydesk.store import default_cache, json_digest
from copydesk.study import Situation, choose, measured_forecasts
from copydesk.train import Recipe, make_settings, tune

METHODS = ("lora", "full", "qlora", "prompt")
REAL = (
    *[(brand, size) for size in (6, 16) for brand in ("18f", "rust", "based-cooking")],
    *[(brand, size) for size in (6, 16) for brand in ("fernwick", "kestrel")],
    ("18f", 40),
    ("rust", 40),
)
SAMPLE = tuple(
    (brand, size)
    for size in (6, 12, 18, 24)
    for brand in sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
)
HELDOUT = 12
SETTINGS = {"max_length": 160, "batch_tokens": 256, "epochs": 2, "eval_steps": 10**6}
DRAWS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A client with so many pages."""

    client: str
    pages: int
    train: tuple[Encoded, ...]
    heldout: tuple[Encoded, ...]

    @property
    def name(self) -> str:
        return f"{self.client}-{self.pages}"

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.train)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A case with what every method did on it."""

    case: Case
    base: tuple[ExampleLoss, ...]
    losses: dict[str, tuple[ExampleLoss, ...]]
    figures: dict[str, dict[str, float]]

    @property
    def best(self) -> str:
        return min(self.losses, key=lambda method: mean_loss(self.losses[method]))

    def hit(self, method: str) -> bool:
        """Whether the method is within one interval of the best."""
        if method == self.best:
            return True
        return loss_difference(self.losses[method], self.losses[self.best]).low <= 0

    def share(self, method: str) -> tuple[float, float, float] | None:
        """Percent of full's gain, with its interval over pages; None where full gained nothing."""
        sums = {
            name: np.array([loss.loss for loss in losses])
            for name, losses in (("base", self.base), *self.losses.items())
        }
        if sums["base"].sum() <= sums["full"].sum():
            return None
        count = len(self.base)
        draws = np.random.default_rng(0).integers(0, count, size=(DRAWS, count))
        drawn = {name: found[draws].sum(axis=1) for name, found in sums.items()}
        gains = drawn["base"] - drawn["full"]
        shares = 100 * (drawn["base"] - drawn[method])[gains > 0] / gains[gains > 0]
        value = 100 * (sums["base"] - sums[method]).sum() / (sums["base"] - sums["full"]).sum()
        low, high = np.percentile(shares, [2.5, 97.5])
        return float(value), float(low), float(high)

    def comparison(self, base: str) -> Comparison:
        """As a workspace would have kept it."""
        rows = [MethodRow(method="base", status="done", heldout_loss=mean_loss(self.base))]
        for method, losses in self.losses.items():
            share, figures = self.share(method), self.figures[method]
            rows.append(
                MethodRow(
                    method=method,
                    status="done",
                    heldout_loss=mean_loss(losses),
                    relative_performance=share[0] if share else None,
                    relative_performance_ci=share[1:] if share else None,
                    trainable_parameters=int(figures["trainable_parameters"]),
                    peak_memory_bytes=int(figures["peak_memory_bytes"]),
                    train_seconds=figures["seconds"],
                    tokens_per_second=figures["tokens"] / figures["seconds"],
                )
            )
        return Comparison(
            client=self.case.client,
            base=base,
            created="",
            machine="",
            train_documents=self.case.pages,
            heldout_documents=len(self.case.heldout),
            train_tokens=self.case.tokens,
            heldout_tokens=sum(loss.tokens for loss in self.base),
            rows=tuple(rows),
            verdict="",
        )


def load_cases(wanted: Sequence[tuple[str, int]], tokenizer: Any) -> list[Case]:
    """The newest pages of each client: so many to train on, later ones held out."""
    cases: list[Case] = []
    for client, pages in wanted:
        file = (SAMPLES if (SAMPLES / client).is_dir() else BRANDS) / client / "posts.jsonl"
        count = len(file.read_text(encoding="utf-8").splitlines())
        heldout_share = min(0.2, HELDOUT / count)
        found = curate([file], client=client, settings=CurateSettings(heldout_share=heldout_share))
        train, heldout = (
            encode_examples(
                tokenizer,
                [material_example(page) for page in part],
                max_length=SETTINGS["max_length"],
            ).examples
            for part in (found.train[-pages:], found.heldout[-HELDOUT:])
        )
        cases.append(Case(client=client, pages=len(train), train=train, heldout=heldout))
    return cases


def measure(cases: Sequence[Case], base: BaseInfo, tokenizer: Any, cells: Path) -> list[Measured]:
    """Every method on every case, each cell run once and kept."""
    cells.mkdir(parents=True, exist_ok=True)
    found: list[Measured] = []
    for number, case in enumerate(cases, 1):
        print(f"{number}/{len(cases)} {case.name}", file=sys.stderr, flush=True)
        digest = json_digest([list(example.ids) for example in (*case.train, *case.heldout)])
        untuned_cell = kept(
            cells / f"{case.name}-base-{digest[:12]}.json", lambda c=case: base_cell(c, base)
        )
        results = {
            method: kept(
                cells / f"{case.name}-{method}-{recipe.digest[:12]}.json",
                lambda c=case, r=recipe, b=untuned_cell: method_cell(c, r, losses_of(b)),
            )
            for method in METHODS
            for recipe in (make_recipe(method, digest, base, tokenizer),)
        }
        found.append(
            Measured(
                case=case,
                base=losses_of(untuned_cell),
                losses={method: losses_of(cell) for method, cell in results.items()},
                figures={method: cell["figures"] for method, cell in results.items()},
            )
        )
    return found


def make_recipe(method: str, dataset: str, base: BaseInfo, tokenizer: Any) -> Recipe:
    run, own = make_settings(method, SETTINGS)
    return Recipe(
        base=base,
        dataset_digest=dataset,
        template_digest=template_digest(tokenizer),
        method=method,
        run=run,
        own=own,
        dtype=find_method(method).dtype("auto", pick_device()),
    )


def kept(file: Path, run: Any) -> dict[str, Any]:
    """A cell that was measured before, or is now."""
    if not file.is_file():
        cell = run()
        part = file.with_suffix(".part")
        part.write_text(json.dumps(cell), encoding="utf-8")
        part.rename(file)
    return json.loads(file.read_text(encoding="utf-8"))


def base_cell(case: Case, info: BaseInfo) -> dict[str, Any]:
    device = pick_device()
    dtype = find_method("lora").dtype("auto", device)
    model = untuned(load_base(info, device=device, dtype=dtype, attention=ATTENTION))
    return {"losses": [[loss.loss, loss.tokens] for loss in score(model, case.heldout)]}


def method_cell(case: Case, recipe: Recipe, before: Sequence[ExampleLoss]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        tuning = tune(
            recipe,
            case.train,
            case.heldout,
            device=pick_device(),
            folder=Path(folder),
            task=f"{case.name} {recipe.method}",
            loss_before=mean_loss(before),
        )
    result = tuning.result
    return {
        "losses": [[loss.loss, loss.tokens] for loss in result.heldout],
        "figures": {
            "seconds": result.seconds,
            "tokens": result.tokens,
            "steps": result.steps,
            "peak_memory_bytes": tuning.peak_memory_bytes,
            "trainable_parameters": tuning.tuned.trainable_parameters,
        },
    }


def losses_of(cell: dict[str, Any]) -> tuple[ExampleLoss, ...]:
    return tuple(ExampleLoss(loss=loss, tokens=tokens) for loss, tokens in cell["losses"])


def choices(measured: Sequence[Measured], base: str, *, clients: int, evidence: str) -> list[str]:
    """What is chosen for each case, from the others of them as `evidence` says."""
    found: list[str] = []
    for item in measured:
        others = [
            other.comparison(base)
            for other in measured
            if evidence != "none"
            and other is not item
            and (evidence == "other-cases" or other.case.client != item.case.client)
        ]
        situation = Situation(
            pages=item.case.pages,
            tokens=item.case.tokens,
            names=(item.case.client,),
            base=base,
            clients=clients,
            epochs=float(SETTINGS["epochs"]),
            batch_tokens=SETTINGS["batch_tokens"],
            base_loss=mean_loss(item.base),
            total_parameters=int(item.figures["full"]["trainable_parameters"]),
            candidates=METHODS,
            forecasts=measured_forecasts(others, base=base, tokens=item.case.tokens),
            comparisons=tuple(others),
        )
        found.append(choose(situation).method)
    return found


def judged(measured: Sequence[Measured], methods: Sequence[str]) -> dict[str, Any]:
    """Hits, mean share of full's gain and total time of one method for each case."""
    pairs = list(zip(measured, methods, strict=True))
    shares = [share[0] for item, method in pairs if (share := item.share(method))]
    return {
        "hits": sum(item.hit(method) for item, method in pairs),
        "mean_share_of_full": round(statistics.mean(shares), 1) if shares else None,
        "train_seconds": round(sum(item.figures[method]["seconds"] for item, method in pairs), 1),
        "methods": {name: list(methods).count(name) for name in dict.fromkeys(methods)},
    }


def between_cases(measured: Sequence[Measured]) -> float | None:
    """Standard deviation of LoRA's share over the cases, the pages' own noise taken off."""
    shares = [share for item in measured if (share := item.share("lora"))]
    if len(shares) < 3:
        return None
    noise = statistics.mean(((high - low) / 3.92) ** 2 for _, low, high in shares)
    return round(max(0.0, statistics.variance([value for value, *_ in shares]) - noise) ** 0.5, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=len(REAL), help="only the first so many")
    parser.add_argument("--cells", type=Path, default=ROOT / "benchmarks" / "cells")
    options = parser.parse_args()
    base = BaseStore(default_cache()).pull("smollm2-135m")
    tokenizer = load_tokenizer(base)
    wanted = (REAL if BRANDS.is_dir() else SAMPLE)[: options.cases]
    measured = measure(load_cases(wanted, tokenizer), base, tokenizer, options.cells)
    count = len(measured)
    asked = {
        evidence: judged(measured, choices(measured, base.name, clients=1, evidence=evidence))
        for evidence in ("other-cases", "other-clients", "none")
    }
    agency = choices(measured, base.name, clients=12, evidence="other-cases")
    always = {f"always-{method}": judged(measured, [method] * count) for method in METHODS}
    emit(
        {
            "benchmark": "choose-backtest",
            "versions": versions("copydesk", "torch", "transformers", "peft"),
            "base": base.name,
            "settings": SETTINGS,
            "cases": [
                {
                    "client": item.case.client,
                    "pages": item.case.pages,
                    "best": item.best,
                    "hits": [method for method in METHODS if item.hit(method)],
                    "base_loss": round(mean_loss(item.base), 4),
                    "losses": {m: round(mean_loss(item.losses[m]), 4) for m in METHODS},
                    "share_of_full": {
                        m: [round(number, 1) for number in share]
                        for m in METHODS
                        if (share := item.share(m))
                    },
                }
                for item in measured
            ],
            "ours": asked["other-cases"],
            "rival": always,
            "ratio": round(asked["other-cases"]["hits"] / max(1, always["always-lora"]["hits"]), 3),
            "without_the_client": asked["other-clients"],
            "publications_only": asked["none"],
            "agency_of_12": judged(measured, agency),
            "lora_between_cases_sd": between_cases(measured),
        }
    )


if __name__ == "__main__":
    main()
