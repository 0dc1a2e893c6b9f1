"""`foundation train`: the base, fully fine-tuned on all that may be trained on, as a new base."""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from transformers import PreTrainedTokenizerBase

from copydesk.corpus import (
    BRIEF_TEMPLATE_VERSION,
    CurateSettings,
    document_examples,
    material_example,
    read_sources,
    without_copies,
)
from copydesk.desk._learned import Learned, write_learned
from copydesk.desk._models import workspace_base
from copydesk.desk._place import DATASETS, FOUNDATIONS, Place, client_material, newest_dataset
from copydesk.desk._results import Foundation, Gate
from copydesk.errors import AlreadyThere, InvalidInput, NotEnoughText
from copydesk.evaluate import general_chats, general_digest, mean_loss, score
from copydesk.models import (
    ATTENTION,
    BaseInfo,
    Encoded,
    Tuned,
    encode_example,
    encode_examples,
    find_method,
    free_memory,
    load_base,
    load_tokenizer,
    pick_device,
    template_digest,
    untuned,
)
from copydesk.records import Chat, Document, Example, Listener, Message, Rejection
from copydesk.store import Keyring, building, held, json_digest
from copydesk.train import Recipe, Tuning, check_recipe, clear_run, make_settings, tune

METHOD: Final = "full"
_MOST_REPEATS: Final = 4
"""Of a general example in an epoch. Repeating text up to four times is nearly as good as new text
(Muennighoff et al. 2023, *Scaling Data-Constrained Language Models*); beyond that it is learned by
heart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """What the foundation learns from, and what it is judged by."""

    train: tuple[Encoded, ...]
    heldout: tuple[Encoded, ...]
    general: tuple[Encoded, ...]
    """To be mixed in."""
    gate: tuple[Encoded, ...]
    """To measure forgetting by; none of it is mixed in."""
    pages: int
    rights: Mapping[str, int]
    digest: str
    learned: Learned
    """The pages to train on, and the datasets that they are of."""


def train_foundation(
    place: Place,
    *,
    sources: Sequence[str] | None,
    name: str | None,
    mix: float,
    general: Path | None,
    most_forgetting: float,
    settings: Mapping[str, Any],
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Foundation:
    """See `Workspace.train_foundation`."""
    if not 0 <= mix < 1:
        raise InvalidInput(f"mix is {mix:g} and must be from 0 to below 1")
    base = workspace_base(place)
    target = _target(place, name)
    tokenizer = load_tokenizer(base)
    run, own = make_settings(METHOD, {"seed": place.config.seed, **settings})
    device = pick_device()
    text = _text(place, sources, general, tokenizer, run.max_length)
    examples, reached = _mixed(text, mix, run.seed)
    recipe = check_recipe(
        Recipe(
            base=base,
            dataset_digest=json_digest({"pages": text.digest, "mix": mix}),
            template_digest=f"{template_digest(tokenizer)}/brief-{BRIEF_TEMPLATE_VERSION}",
            method=METHOD,
            run=run,
            own=own,
            dtype=find_method(METHOD).dtype(run.dtype, device),
        ),
        device,
    )
    with held(place.locks, ".foundation", doing="trains a foundation"):
        before = _general_loss(
            untuned(load_base(base, device=device, dtype=recipe.dtype, attention=ATTENTION)), text
        )
        free_memory()
        folder = place.root / "runs" / ".foundation" / recipe.digest[:16]
        tuning = tune(
            recipe,
            examples,
            text.heldout,
            device=device,
            folder=folder,
            task=f"train {target.name} ({find_method(METHOD).label})",
            checkpoint_seconds=place.config.checkpoint_seconds,
            trackers=place.config.metrics,
            listener=listener,
            should_stop=should_stop,
        )
        after = _general_loss(tuning.tuned, text)
        result = _judged(target, base, text, tuning, reached, (before, after), most_forgetting)
        if result.registered:
            _register(result, tuning, text, general, place.catalogue.keys)
        clear_run(folder)
    return result


def _target(place: Place, name: str | None) -> Path:
    shelf = place.root / FOUNDATIONS
    if name is None:
        taken = {path.name for path in shelf.glob("foundation-*")}
        number = next(n for n in range(1, len(taken) + 2) if f"foundation-{n}" not in taken)
        return shelf / f"foundation-{number}"
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise InvalidInput(
            f"{name!r} cannot be a base's name", todo="Use letters, digits and hyphens."
        )
    if (shelf / name).exists():
        raise AlreadyThere(f"There is a base {name!r} already", todo="Choose another name.")
    return shelf / name


def _text(
    place: Place,
    sources: Sequence[str] | None,
    general: Path | None,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> _Text:
    clients = sources or [
        row.name
        for row in place.catalogue.clients()
        if place.catalogue.latest(DATASETS, row.name) is not None
    ]
    train: list[Document] = []
    heldout: list[Document] = []
    for client in dict.fromkeys(clients):
        for part, found in zip((train, heldout), client_material(place, client), strict=True):
            part.extend(
                replace(item, id=f"{client}/{item.id}")
                for item in found
                if isinstance(item, Document) and item.right
            )
    train = without_copies(train, of=heldout, threshold=CurateSettings().near_duplicate)
    if not train or not heldout:
        raise NotEnoughText(
            f"Of the pages of {', '.join(clients) or 'no client'} {len(train)} to train on and "
            f"{len(heldout)} to hold out have a recorded right to train",
            todo="Record it in the field `right` (owned, licence:NAME or consent:NOTE) and "
            "curate again.",
        )
    # English words are about 1.3 tokens; what is longer all the same is cut.
    parts = [
        example for page in train for example in document_examples(page, most_words=max_length // 2)
    ]
    encoded = encode_examples(tokenizer, parts, max_length=max_length)
    judged = encode_examples(
        tokenizer, [material_example(p) for p in heldout], max_length=max_length
    )
    mixable, gate = _general(general)
    rights = sorted(page.right or "" for page in train)
    return _Text(
        train=encoded.examples,
        heldout=judged.examples,
        general=encode_examples(tokenizer, mixable, max_length=max_length).examples,
        gate=tuple(
            encode_example(tokenizer, name, chat, answer, max_length=max_length)
            for name, chat, answer in gate
        ),
        pages=len(train),
        rights={right: rights.count(right) for right in dict.fromkeys(rights)},
        learned=Learned(
            datasets=frozenset(newest_dataset(place, client).digest for client in clients),
            pages=frozenset(page.sha256 for page in train),
        ),
        digest=json_digest(
            {
                "train": [_digest(page.text) for page in train],
                "heldout": [_digest(page.text) for page in heldout],
                "general": general_digest() if general is None else _digest(general.read_text()),
            }
        ),
    )


_GeneralChat = tuple[str, tuple[Message, ...], str]


def _general(file: Path | None) -> tuple[list[Example], Sequence[_GeneralChat]]:
    """(what is mixed in, what forgetting is measured by), without a chat in both.

    Of the chats that ship with Copydesk every other one is mixed in. A file of the user's own is
    mixed in whole, and all of ours measure.
    """
    shipped = general_chats()
    if file is None:
        mixed = [
            Example(
                id=f"general/{name}",
                messages=(*chat, Message(role="assistant", content=answer)),
                learned=(len(chat),),
            )
            for name, chat, answer in shipped[1::2]
        ]
        return mixed, shipped[::2]
    found = list(read_sources([file], client="general", settings=CurateSettings()))
    wrong = [item for item in found if isinstance(item, Rejection)]
    chats = [item for item in found if isinstance(item, Chat)]
    if wrong or not chats:
        first = f"; first: line {wrong[0].line}: {wrong[0].reason}" if wrong else ""
        raise InvalidInput(
            f"The general data has {len(chats)} chats and {len(wrong)} wrong records{first}",
            where=str(file),
            todo="Use JSON lines of `messages`, `prompt` and `completion`, Alpaca or ShareGPT.",
        )
    return [material_example(chat) for chat in chats], shipped


def _mixed(text: _Text, mix: float, seed: int) -> tuple[list[Encoded], float]:
    """The pages and so many general chats that these are `mix` of all tokens; the share reached.

    Chats are drawn in a seeded order, round after round, four rounds at most.
    """
    wanted = mix / (1 - mix) * sum(len(example.ids) for example in text.train)
    taken: list[Encoded] = []
    tokens = 0
    for turn in range(_MOST_REPEATS):
        order = list(text.general)
        random.Random(f"{seed}:{turn}").shuffle(order)
        for chat in order:
            if tokens >= wanted:
                break
            taken.append(chat)
            tokens += len(chat.ids)
    whole = tokens + sum(len(example.ids) for example in text.train)
    return [*text.train, *taken], tokens / whole


def _general_loss(model: Tuned, text: _Text) -> float:
    return mean_loss(score(model, text.gate))


def _judged(
    target: Path,
    base: BaseInfo,
    text: _Text,
    tuning: Tuning,
    reached: float,
    general: tuple[float, float],
    most_forgetting: float,
) -> Foundation:
    heldout = mean_loss(tuning.result.heldout)
    heldout_before = tuning.result.curve[0].heldout_loss
    assert heldout_before is not None
    before, after = general
    gates = (
        Gate(
            name="forgetting",
            value=after - before,
            threshold=most_forgetting,
            passed=after - before <= most_forgetting,
        ),
        Gate(
            name="heldout_loss",
            value=heldout,
            threshold=heldout_before,
            passed=heldout < heldout_before,
        ),
    )
    return Foundation(
        name=target.name,
        path=target,
        parent=base.name,
        parent_digest=base.digest,
        pages=text.pages,
        rights=text.rights,
        mix=reached,
        heldout_loss=heldout,
        heldout_loss_before=heldout_before,
        general_loss=after,
        general_loss_before=before,
        train_seconds=tuning.result.seconds,
        peak_memory_bytes=tuning.peak_memory_bytes,
        gates=gates,
        registered=all(gate.passed for gate in gates),
    )


def _register(
    result: Foundation, tuning: Tuning, text: _Text, general: Path | None, keys: Keyring
) -> None:
    """Keep the tuned weights as a base of the workspace, with what it came from."""
    with building(result.path, kind="base", inputs=tuning.recipe.inputs, keys=keys) as artifact:
        tuning.save(artifact.path)
        write_learned(artifact.path, text.learned)
        artifact.facts.update(
            parent=result.parent,
            method=METHOD,
            settings=dict(tuning.recipe.settings),
            pages=result.pages,
            rights=dict(text.rights),
            mix=result.mix,
            general="shipped" if general is None else _digest(general.read_text()),
            heldout_loss=result.heldout_loss,
            heldout_loss_before=result.heldout_loss_before,
            general_loss=result.general_loss,
            general_loss_before=result.general_loss_before,
            train_seconds=result.train_seconds,
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
