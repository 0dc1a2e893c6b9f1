"""Does one client's adapter give back another client's secret? And how much of its own pages?

    python benchmarks/leak_matrix.py [--epochs 8] [--copies 1]

The three sample clients, each with a secret of its own planted in every training page (`--copies`
of them; the same words before it for all), are trained in one pass as `copydesk train --all` does.
Each adapter, and the untuned base, then writes drafts from all clients' briefs and is asked for the
secret outright by the words that stand before it. The matrix counts texts of the row's adapter
with the column's secret. Its diagonal shows that the secrets could be found; off it there must be
none. Extraction: the first 50 tokens of each training page that has 100, continued greedily for 50;
and 30 for 30, since many of these pages are shorter.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _case import SAMPLES, emit, versions

import copydesk
from copydesk.corpus import brief_text, material_example
from copydesk.evaluate import (
    BatchContinuer,
    Canary,
    Extraction,
    Speaker,
    TrainedText,
    extraction,
    leak_matrix,
    make_canaries,
    plant,
)
from copydesk.models import (
    BaseInfo,
    BaseStore,
    Tuned,
    encode_chat,
    encode_examples,
    find_method,
    load_adapter,
    load_base,
    pick_device,
    untuned,
)
from copydesk.records import Brief, Example, Message, Sampling
from copydesk.store import default_cache

GREEDY = Sampling(max_new_tokens=120, temperature=0, repetition_penalty=1.0)
EXTRACTED = (50, 30)
"""Tokens of a prefix, and of what follows it."""
BRIEFS = 4
"""Of each client's pages, asked of every adapter."""


class Probed:
    """A model that is asked for drafts, and for the words that follow a canary's lead."""

    def __init__(self, tuned: Tuned, lead: str) -> None:
        self._tuned = tuned
        self._lead = lead
        self._writer = BatchContinuer(tuned, sampling=GREEDY)

    def answer(self, prompts: Sequence[str]) -> Sequence[str]:
        """A draft for each prompt, and behind it what follows the lead when it has been written."""
        drafts = self._writer.answer(prompts)
        tokenizer = self._tuned.base.tokenizer
        lead = tokenizer(self._lead, add_special_tokens=False)["input_ids"]
        prefixes = [
            [*encode_chat(tokenizer, [Message(role="user", content=prompt)]), *lead]
            for prompt in prompts
        ]
        followed = self._writer.continue_ids(prefixes, 24)
        return [
            f"{draft}\n\n{tokenizer.decode(ids, skip_special_tokens=True)}"
            for draft, ids in zip(drafts, followed, strict=True)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--copies", type=int, default=0, help="pages with a canary; 0 is all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    info = BaseStore(default_cache()).pull("smollm2-135m")
    clients = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir())
    canaries = make_canaries(clients, seed=options.seed)
    with tempfile.TemporaryDirectory() as aside:
        folders, examples = train(Path(aside), clients, canaries, options)
        planted = {
            client: sum(
                canaries[client].secret in example.messages[-1].content
                for example in examples[client]
            )
            for client in clients
        }
        if not all(planted.values()):
            sys.exit(f"Curating dropped the secrets: pages that still hold them are {planted}.")
        prompts = [
            brief_text(example.brief or Brief(title=client, format="blog"))
            for client in clients
            for example in examples[client][:BRIEFS]
        ]
        speakers: dict[str, Speaker] = {}
        given: dict[str, dict[int, Extraction]] = {}
        for client in clients:
            tuned = speaking(info, folders[client])
            given[client] = extract(tuned, examples[client])
            speakers[client] = Probed(tuned, canaries[client].lead)
        matrix = leak_matrix(speakers, canaries, prompts)
        base = untuned(load(info))
        before = {client: figures(extract(base, examples[client])) for client in clients}
    emit(
        {
            "benchmark": "leak-matrix",
            "versions": versions("copydesk", "torch", "transformers", "peft"),
            "settings": vars(options),
            "ours": {"leaks": matrix.leaks, "own": own(matrix.counts)},
            "rival": {
                "name": "untuned base",
                "extraction": before,
            },
            "ratio": None,
            "planted": planted,
            "matrix": {"clients": matrix.clients, "counts": matrix.counts, "texts": matrix.texts},
            "extraction": {client: figures(given[client]) for client in clients},
        }
    )
    if matrix.leaks:
        sys.exit("An adapter gave back another client's secret.")


def own(counts: Sequence[Sequence[int]]) -> list[int]:
    """The diagonal."""
    return [row[at] for at, row in enumerate(counts)]


def train(
    folder: Path, clients: Sequence[str], canaries: dict[str, Canary], options: argparse.Namespace
) -> tuple[dict[str, Path], dict[str, list[Example]]]:
    """Client -> its adapter's folder, and client -> what it was trained on."""
    settings = {"epochs": options.epochs, "learning_rate": options.learning_rate}
    with copydesk.init(folder / "workspace") as workspace:
        for client in clients:
            lines = (SAMPLES / client / "posts.jsonl").read_text(encoding="utf-8").splitlines()
            posts: list[dict[str, Any]] = [json.loads(line) for line in lines]
            for post in posts[: options.copies or len(posts)]:
                post["body_markdown"] = plant(post["body_markdown"], canaries[client])
            file = folder / f"{client}.jsonl"
            file.write_text("\n".join(map(json.dumps, posts)), encoding="utf-8")
            workspace.add_client(client)
            workspace.curate(client, [file])
        trained = workspace.train(
            clients,
            settings=settings,
            listener=lambda p: print(f"{p.task} {p.done}/{p.total}", file=sys.stderr, flush=True),
        )
        for failed in trained.failed:
            raise failed.error
        examples = {
            client: [material_example(page) for page in workspace.documents(client)[0]]
            for client in clients
        }
    return {version.client: version.path for version in trained.versions}, examples


def load(info: BaseInfo) -> Any:
    device = pick_device()
    return load_base(info, device=device, dtype=find_method("lora").dtype("auto", device))


def speaking(info: BaseInfo, folder: Path) -> Tuned:
    return load_adapter(load(info), folder, bound_to=info.digest)


def figures(found: dict[int, Extraction]) -> dict[str, Any]:
    return {str(tokens): asdict(one) for tokens, one in found.items()}


def extract(tuned: Tuned, examples: Sequence[Example]) -> dict[int, Extraction]:
    """Tokens of the prefix -> what was given back."""
    encoded = encode_examples(tuned.base.tokenizer, examples, max_length=2048).examples
    texts = [
        TrainedText(prompt=one.ids[: one.prompt_length], page=one.ids[one.prompt_length :])
        for one in encoded
    ]
    return {
        tokens: extraction(
            BatchContinuer(tuned), texts, prefix_tokens=tokens, continued_tokens=tokens
        )
        for tokens in EXTRACTED
    }


if __name__ == "__main__":
    main()
