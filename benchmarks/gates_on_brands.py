"""Do the gates earn their keep? Honest adapters of real brands, and adapters spoiled on purpose.

    nice -n 19 python benchmarks/gates_on_brands.py --folder DIR [--pages 50] [--tokens 256]
        [--epochs 2] [--brands 18f,carpentries,rust,va-gov,standard-ebooks] [--base smollm2-135m]

One adapter a brand is trained in one pass and promoted when its gates pass; then each of these is
asked the same gates, with the thresholds of a new workspace:

- `other-pages`: the adapter of the second brand, as a version of the first;
- `ten-times-rate`: the first brand's pages at ten times the learning rate. The loop ends such a run
  by itself when it diverges, which counts as refused; so it is also cut before that (`-cut`);
- `recites`: a few pages of one more brand, learned for `--recite-epochs`;
- `base-swapped`: trained on a base with two layers exchanged, and said so; `-hidden`: with a
  manifest that names the right base;
- `tensor-zeroed`: an honest adapter with one B of one layer zeroed, hashed anew.

`ours` counts honest versions that pass and spoiled ones that are refused; `rival` is what training
writes down by itself: the held-out loss fell. With `--folder` all is kept, and a run that was cut
off goes on. `--base tiny` tries the path in minutes, and judges nothing.
"""

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _case import ROOT, emit, posts, versions
from safetensors.torch import load_file, save_file

import copydesk
from copydesk import Workspace
from copydesk.errors import AlreadyThere
from copydesk.models import BaseStore, find_method
from copydesk.records import Progress
from copydesk.registry import (
    Evaluation,
    Version,
    add_version,
    find_version,
    newest_evaluation,
    promoted_number,
)
from copydesk.registry import versions as versions_of
from copydesk.store import Artifact, default_cache

BRANDS = "18f,carpentries,rust,va-gov,standard-ebooks"
FALLBACK = ("fernwick", "kestrel", "moonmilk")
NOTES = "spoiled.json"


class Bench:
    """The workspace with honest and spoiled versions, and a note of which is which."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.settings = {"epochs": options.epochs, "max_length": options.tokens}
        self.spoiled: dict[str, str] = {}
        """Kind -> `client@n`, or what the loop said when it refused."""
        if (folder / NOTES).is_file():
            self.spoiled = json.loads((folder / NOTES).read_text())
        self.base = base_folder(folder, options.base)
        self.workspace = opened(folder / "workspace", self.base)
        self.names = [
            self.add(brand, FALLBACK[at % len(FALLBACK)], options.pages)
            for at, brand in enumerate(options.brands.split(","))
        ]

    def add(self, brand: str, fallback: str, pages: int) -> str:
        """The client with a brand's newest pages, added where it is not there yet."""
        known = {client.name: client.documents for client in self.workspace.clients()}
        name, found = posts(brand, fallback)
        if name not in known:
            self.workspace.add_client(name)
        if not known.get(name):
            file = self.folder / f"{name}.jsonl"
            file.write_text("".join(json.dumps(post) + "\n" for post in found[-pages:]))
            self.workspace.curate(name, [file])
        return name

    def train(self, names: list[str], **settings: Any) -> dict[str, str]:
        """Client -> version, or why there is none."""
        done = self.workspace.train(
            names, method="lora", settings={**self.settings, **settings}, listener=tell
        )
        made = {item.client: item.version for item in done.versions}
        return made | {item.client: f"refused: {item.error}" for item in done.failed}

    def spoil(self, kind: str, make: Callable[[], str]) -> None:
        """Make a spoiled version, once."""
        if kind not in self.spoiled:
            self.spoiled[kind] = make()
            (self.folder / NOTES).write_text(json.dumps(self.spoiled, indent=1))
        print(f"{kind}: {self.spoiled[kind]}", file=sys.stderr, flush=True)

    def forge(
        self,
        origin: Version,
        client: str,
        *,
        inputs: dict[str, str] | None = None,
        change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None,
    ) -> str:
        """A version of the client with the weights of another, hashed as if it were honest."""

        def fill_in(artifact: Artifact) -> None:
            shutil.copytree(
                origin.path,
                artifact.path,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("manifest.*"),
            )
            if change is not None:
                file = artifact.path / "adapter_model.safetensors"
                save_file(change(load_file(file)), file)
            artifact.facts.update(origin.facts)

        made = add_version(
            self.workspace.catalogue, client, {**origin.inputs, **(inputs or {})}, fill_in
        )
        return made.name

    def find(self, ref: str) -> Version:
        return find_version(self.workspace.catalogue, ref)

    def judged(self, ref: str) -> Evaluation:
        """What the gates say, asked once for these thresholds and the present live version."""
        version = self.find(ref)
        catalogue = self.workspace.catalogue
        kept = newest_evaluation(catalogue, version.client, version.number)
        asked = (
            self.workspace.config.gates.digest,
            BaseStore(default_cache()).find(self.base).digest,
        )
        live = promoted_number(catalogue, version.client)
        current = kept is not None and (kept.thresholds, kept.base) == asked
        if kept is None or not current or kept.against not in (live, None):
            kept = self.workspace.evaluate(ref, listener=tell).evaluation
        for gate in kept.gates:
            said = "ok" if gate.passed else "NO"
            print(f"  {ref} {said} {gate.name} {gate.value:.4f}", file=sys.stderr, flush=True)
        return kept


def main() -> None:
    options = arguments()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, options)
        stack.callback(bench.workspace.close)
        honest = train_honest(bench)
        rows = [row(bench, "honest", ref) for ref in honest]
        for ref, found in zip(honest, rows, strict=True):
            if found["passed"]:
                with contextlib.suppress(AlreadyThere):
                    bench.workspace.promote(ref)
        spoil_all(bench)
        rows += [row(bench, kind, ref) for kind, ref in bench.spoiled.items() if kind != "recites"]
        recite(bench)
        rows.append(row(bench, "recites", bench.spoiled["recites"]))
        report(rows, bench, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--brands", default=BRANDS)
    parser.add_argument("--pages", type=int, default=50, help="newest, of each brand")
    parser.add_argument("--tokens", type=int, default=256, help="longest page, in tokens")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--recite-brand", default="a11y-project")
    parser.add_argument("--recite-pages", type=int, default=15)
    parser.add_argument("--recite-epochs", type=float, default=20.0)
    parser.add_argument(
        "--cut-steps", type=int, default=12, help="of the run at ten times the rate"
    )
    parser.add_argument("--base", default="smollm2-135m")
    return parser.parse_args()


def base_folder(folder: Path, base: str) -> str:
    if base != "tiny":
        BaseStore(default_cache()).pull(base)
        return base
    sys.path.insert(0, str(ROOT / "tests"))
    from conftest import write_tiny_base

    if not (folder / "tiny").exists():
        write_tiny_base(folder / "tiny")
    return str(folder / "tiny")


def opened(root: Path, base: str) -> Workspace:
    if not (root / "copydesk.toml").exists():
        copydesk.init(root).close()
        (root / "copydesk.toml").write_text(f"base = {json.dumps(base)}\n")
    return copydesk.open(root)


def train_honest(bench: Bench) -> list[str]:
    """The first version of each brand, all trained in one pass."""
    catalogue = bench.workspace.catalogue
    missing = [name for name in bench.names if not versions_of(catalogue, name)]
    if missing:
        for name, made in bench.train(missing).items():
            if "@" not in made.split(" ")[0]:
                sys.exit(f"{name}: {made}")
    return [f"{name}@1" for name in bench.names]


def spoil_all(bench: Bench) -> None:
    first, second = bench.names[0], bench.names[1]
    rate = 10 * find_method("lora").learning_rate
    own = bench.find(f"{first}@1")
    bench.spoil(
        "other-pages",
        lambda: bench.forge(bench.find(f"{second}@1"), first, inputs=dict(own.inputs)),
    )
    bench.spoil("tensor-zeroed", lambda: bench.forge(own, first, change=zeroed))
    bench.spoil("ten-times-rate", lambda: bench.train([first], learning_rate=rate)[first])
    bench.spoil(
        "ten-times-rate-cut",
        lambda: bench.train([first], learning_rate=rate, max_steps=bench.options.cut_steps)[first],
    )
    swapped = once(lambda: trained_elsewhere(bench, first))
    bench.spoil("base-swapped", lambda: bench.forge(swapped(), first))
    bench.spoil(
        "base-swapped-hidden",
        lambda: bench.forge(swapped(), first, inputs={"base": own.inputs["base"]}),
    )


def recite(bench: Bench) -> None:
    """Learn a few pages by heart; last, so that the others are judged without this client."""
    options = bench.options

    def make() -> str:
        client = bench.add(options.recite_brand, "kestrel", options.recite_pages)
        return bench.train([client], epochs=options.recite_epochs)[client]

    bench.spoil("recites", make)


def once(make: Callable[[], Version]) -> Callable[[], Version]:
    """The same value each time, made when it is first wanted."""
    made: list[Version] = []

    def found() -> Version:
        if not made:
            made.append(make())
        return made[0]

    return found


def zeroed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with one B of a middle layer zeroed."""
    names = sorted(name for name in tensors if "q_proj.lora_B" in name)
    name = names[len(names) // 2]
    return {**tensors, name: torch.zeros_like(tensors[name])}


def trained_elsewhere(bench: Bench, client: str) -> Version:
    """The client's adapter, trained on a base with two layers exchanged."""
    target = bench.folder / "swapped-base"
    if not target.exists():
        origin = BaseStore(default_cache()).find(bench.base).path
        aside = bench.folder / ".swapped-base"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(origin, aside, ignore=shutil.ignore_patterns("manifest.*"))
        exchange_layers(aside / "model.safetensors")
        aside.rename(target)
    with opened(bench.folder / "elsewhere", str(target)) as other:
        if client not in {found.name for found in other.clients()}:
            other.add_client(client)
            other.curate(client, [bench.folder / f"{client}.jsonl"])
        if not versions_of(other.catalogue, client):
            done = other.train([client], method="lora", settings=bench.settings, listener=tell)
            for failed in done.failed:
                raise failed.error
        return find_version(other.catalogue, f"{client}@1")


def exchange_layers(file: Path) -> None:
    """Let a third and two thirds of the depth change places."""
    tensors = load_file(file)
    depth = 1 + max(int(name.split(".")[2]) for name in tensors if ".layers." in name)
    one, other = depth // 3, 2 * depth // 3 if depth > 2 else depth - 1
    moved = {f".layers.{one}.": f".layers.{other}.", f".layers.{other}.": f".layers.{one}."}
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        place = next((there for here, there in moved.items() if here in name), None)
        here = next((here for here in moved if here in name), "")
        renamed[name.replace(here, place) if place else name] = tensor
    save_file(renamed, file, metadata={"format": "pt"})


def row(bench: Bench, kind: str, ref: str) -> dict[str, Any]:
    """What the gates say of a version, beside what training said."""
    if ref.startswith("refused"):
        return {"kind": kind, "version": None, "passed": False, "by": ["training"], "said": ref}
    found = bench.judged(ref)
    facts = bench.find(ref).facts
    before = facts["curve"][0]["heldout_loss"]
    return {
        "kind": kind,
        "version": ref,
        "passed": found.passed,
        "by": [gate.name for gate in found.gates if not gate.passed],
        "training_says_better": facts["heldout_loss"] < before,
        "gates": {gate.name: round(gate.value, 5) for gate in found.gates},
    }


def report(rows: list[dict[str, Any]], bench: Bench, options: argparse.Namespace) -> None:
    honest = [one for one in rows if one["kind"] == "honest"]
    spoiled = [one for one in rows if one["kind"] != "honest"]
    passed = sum(one["passed"] for one in honest)
    refused = sum(not one["passed"] for one in spoiled)
    trusted = sum(not one.get("training_says_better", False) for one in spoiled)
    emit(
        {
            "benchmark": "gates-on-brands" + ("-tiny" if options.base == "tiny" else ""),
            "versions": versions("copydesk", "torch", "transformers", "peft", "scikit-learn"),
            "brands": bench.names,
            "settings": {
                key: value
                for key, value in vars(options).items()
                if key not in {"folder", "brands"}
            },
            "thresholds": bench.workspace.config.gates.model_dump(),
            "ours": {
                "honest_passed": f"{passed}/{len(honest)}",
                "spoiled_refused": f"{refused}/{len(spoiled)}",
            },
            "rival": {
                "name": "the held-out loss that training wrote down fell",
                "spoiled_refused": f"{trusted}/{len(spoiled)}",
            },
            "ratio": None,
            "table": rows,
        }
    )
    if options.base != "tiny" and (passed, refused) != (len(honest), len(spoiled)):
        sys.exit("The gates did not tell honest versions from spoiled ones.")


def tell(event: Progress) -> None:
    if event.done == event.total or (event.unit == "steps" and event.done % 10 == 0):
        print(f"{event.task} {event.done}/{event.total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
