"""Many runs in one pass: each ends as it would alone, whatever becomes of the others."""

import gc
import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CONVOLUTION, FAMILIES, SHAPE, write_base
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from copydesk.errors import Cancelled, CannotShare, CopydeskError, Diverged, InvalidInput
from copydesk.models import Bank, BaseStore, Encoded, encode_example, load_tokenizer
from copydesk.records import Message, Progress
from copydesk.train import PassRun, Recipe, Tuning, can_join, make_settings, tune, tune_together

CPU = torch.device("cpu")
WEIGHTS = "adapter_model.safetensors"
EIGHT: dict[str, dict[str, Any]] = {
    "acme": {"lora_r": 2, "max_steps": 6, "batch_tokens": 120},
    "birch": {"lora_r": 8, "lora_alpha": 8, "max_steps": 3, "batch_tokens": 300},
    "corvid": {"lora_r": 5, "lora_dropout": 0.3, "use_rslora": True, "max_steps": 5},
    "dune": {"target_modules": ("q_proj", "v_proj"), "max_steps": 4, "seed": 7},
    "elm": {"learning_rate": 1e-3, "lr_scheduler": "linear", "max_steps": 7, "batch_tokens": 90},
    "fig": {"loraplus_lr_ratio": 4, "max_steps": 5, "max_grad_norm": 0.1},
    "gull": {"early_stopping_patience": 1, "eval_steps": 1, "max_steps": 6, "learning_rate": 3e-2},
    "heath": {"target_modules": ("down_proj",), "lora_dropout": 0.5, "max_steps": 4},
}


def texts(folder: Path, name: str, count: int, repeats: int = 1) -> list[Encoded]:
    tokenizer = load_tokenizer(BaseStore(folder / "cache").find(str(folder)))
    return [
        encode_example(
            tokenizer,
            f"{name}{number}",
            [Message(role="user", content=f"Write of {name}.")],
            f"{name} number {number} it is. " * (1 + number % 3) * repeats,
            max_length=1000,
        )
        for number in range(count)
    ]


def a_run(base: Path, name: str, own: dict[str, Any], root: Path, *, repeats: int = 1) -> PassRun:
    run, settings_ = make_settings(
        "lora", {"dtype": "float32", "batch_tokens": 200, "epochs": 50} | own
    )
    recipe = Recipe(
        base=BaseStore(base / "cache").find(str(base)),
        dataset_digest=name,
        template_digest="t",
        method="lora",
        run=run,
        own=settings_,
        dtype=torch.float32,
    )
    examples = texts(base, name, 5 + len(name), repeats)
    return PassRun(
        name=name,
        recipe=recipe,
        examples=examples[2:],
        heldout=examples[:2],
        folder=root / name,
        task=name,
    )


class Ends:
    """What a pass gave, with the weights of each run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.weights: dict[str, dict[str, torch.Tensor]] = {}
        self.losses: dict[str, float] = {}
        self.failed: dict[str, CopydeskError] = {}

    def finished(self, name: str, tuning: Tuning) -> None:
        folder = self.root / f"saved-{name}"
        folder.mkdir(parents=True)
        tuning.save(folder)
        self.weights[name] = load_file(folder / WEIGHTS)
        self.losses[name] = sum(loss.loss for loss in tuning.result.heldout)

    def run(self, runs: Sequence[PassRun], **more: Any) -> "Ends":
        tune_together(
            runs, device=CPU, finished=self.finished, failed=self.failed.__setitem__, **more
        )
        return self

    def alone(self, run: PassRun) -> "Ends":
        tuning = tune(
            run.recipe,
            run.examples,
            run.heldout,
            device=CPU,
            folder=self.root / run.name,
            task=run.name,
        )
        self.finished(run.name, tuning)
        return self


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """Of all weights together, relative."""
    assert left.keys() == right.keys()
    apart = sum(float((left[key] - right[key]).square().sum()) for key in left)
    return (apart / sum(float(value.square().sum()) for value in right.values())) ** 0.5


def test_eight_different_clients_end_as_each_alone(tiny_base: Path, tmp_path: Path) -> None:
    runs = [a_run(tiny_base, name, own, tmp_path / "runs") for name, own in EIGHT.items()]
    together = Ends(tmp_path / "together").run(runs)
    assert not together.failed
    for run in runs:
        alone = Ends(tmp_path / "alone").alone(run)
        # Not to the bit: a product over more rows may round each row otherwise.
        assert distance(together.weights[run.name], alone.weights[run.name]) < 1e-5, run.name
        assert together.losses[run.name] == pytest.approx(alone.losses[run.name], rel=1e-5)


def test_batches_that_fill_the_machine_end_equal_to_the_bit(
    tiny_base: Path, tmp_path: Path
) -> None:
    own = {"max_steps": 3, "batch_tokens": 1000, "lora_dropout": 0.1}
    runs = [
        a_run(tiny_base, name, own | {"lora_r": rank}, tmp_path / "runs", repeats=15)
        for rank, name in enumerate(["acme", "birch", "corvid"], start=3)
    ]
    together = Ends(tmp_path / "together").run(runs)
    for run in runs:
        assert sum(len(example.ids) for example in run.examples[:2]) >= 512
        alone = Ends(tmp_path / "alone").alone(run)
        for key, value in alone.weights[run.name].items():
            assert torch.equal(together.weights[run.name][key], value), f"{run.name} {key}"


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    picked=st.lists(
        st.fixed_dictionaries(
            {
                "lora_r": st.integers(1, 6),
                "lora_dropout": st.sampled_from([0.0, 0.3]),
                "learning_rate": st.sampled_from([1e-3, 5e-3]),
                "max_steps": st.integers(1, 4),
                "batch_tokens": st.sampled_from([60, 150, 700]),
            }
        ),
        min_size=2,
        max_size=4,
    )
)
def test_any_set_of_clients_ends_as_each_alone(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory, picked: list[dict[str, Any]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    runs = [a_run(tiny_base, f"client{n}", own, root / "runs") for n, own in enumerate(picked)]
    together = Ends(root / "together").run(runs)
    for run in runs:
        alone = Ends(root / "alone").alone(run)
        assert distance(together.weights[run.name], alone.weights[run.name]) < 1e-5


def big(base: Path, name: str, root: Path, **own: Any) -> PassRun:
    """A run whose steps fill the machine, so that it can be compared to the bit."""
    return a_run(
        base, name, {"max_steps": 4, "batch_tokens": 1000} | own, root / "runs", repeats=15
    )


def same(left: Ends, right: Ends, names: Sequence[str]) -> None:
    for name in names:
        for key, value in left.weights[name].items():
            assert torch.equal(right.weights[name][key], value), f"{name} {key}"


def test_a_client_whose_numbers_break_stops_alone(tiny_base: Path, tmp_path: Path) -> None:
    good = [big(tiny_base, name, tmp_path / "a") for name in ("acme", "birch")]
    expected = Ends(tmp_path / "expected").run(good)
    runs = [big(tiny_base, name, tmp_path / "b") for name in ("acme", "bad", "birch")]

    def poison(event: Progress) -> None:
        """Break the client's weights after its first step, as bad memory would."""
        if event.task == "bad" and event.done == 1:
            held = poisoned()
            with torch.no_grad():
                held.fill_(float("nan"))

    def poisoned() -> torch.Tensor:
        (bank,) = [item for item in gc.get_objects() if type(item) is Bank]
        return next(iter(bank.members["bad"].parameters.values()))

    found = Ends(tmp_path / "found").run(runs, listener=poison)
    assert isinstance(found.failed["bad"], Diverged)
    same(expected, found, ["acme", "birch"])


def test_a_cancelled_client_stops_alone_and_goes_on_later(tiny_base: Path, tmp_path: Path) -> None:
    expected = Ends(tmp_path / "expected").run(
        [big(tiny_base, name, tmp_path / "a") for name in ("acme", "birch")]
    )
    steps = {"acme": 0}

    def count(event: Progress) -> None:
        steps[event.task] = event.done

    runs = [big(tiny_base, name, tmp_path / "b") for name in ("acme", "birch")]
    found = Ends(tmp_path / "found").run(
        runs, listener=count, cancelled=lambda name: name == "acme" and steps["acme"] == 2
    )
    assert isinstance(found.failed["acme"], Cancelled)
    same(expected, found, ["birch"])
    # A run that was begun in a pass goes on by itself.
    later = tune(
        runs[0].recipe,
        runs[0].examples,
        runs[0].heldout,
        device=CPU,
        folder=runs[0].folder,
        task="acme",
    )
    assert later.result.resumed_at == 2
    found.finished("acme", later)
    same(expected, found, ["acme"])


def test_clients_that_do_not_fit_wait(tmp_path: Path) -> None:
    names = ("acme", "birch", "corvid", "dune")
    # About 100 MB of gradients and state each: what the process keeps for itself comes and goes by
    # tens of MB.
    base = write_base(tmp_path / "wide", FAMILIES["llama"](**SHAPE | {"hidden_size": 256}))
    own = {"lora_r": 1024, "max_steps": 3}
    runs = [a_run(base, name, own, tmp_path / "a") for name in names]
    with pytest.raises(InvalidInput, match="The least that would do is") as told:
        Ends(tmp_path / "none").run(runs, memory=1_000_000)
    least = float(str(told.value).rpartition(" is ")[2].partition(" GB")[0])

    def trained(memory: int | None, root: Path) -> tuple[list[str], Ends]:
        order: list[str] = []
        again = [a_run(base, name, own, root) for name in names]
        ends = Ends(root / "saved").run(
            again, memory=memory, listener=lambda event: order.append(event.task)
        )
        return order, ends

    order, queued = trained(int(least * 1e9) + 50_000_000, tmp_path / "b")
    assert order == sorted(order), "one after another"
    order, free = trained(None, tmp_path / "c")
    assert order != sorted(order), "side by side"
    assert not queued.failed and not free.failed
    for name in names:
        assert distance(queued.weights[name], free.weights[name]) < 1e-5


def test_what_cannot_join_says_so(tiny_base: Path, tmp_path: Path) -> None:
    assert can_join(a_run(tiny_base, "acme", {}, tmp_path).recipe)
    assert not can_join(a_run(tiny_base, "acme", {"init_lora_weights": "pissa"}, tmp_path).recipe)


def test_a_base_that_cannot_pack_cannot_share(tmp_path: Path) -> None:
    base = write_base(tmp_path / "lfm2", CONVOLUTION)
    runs = [a_run(base, name, EIGHT[name], tmp_path / "r") for name in ("acme", "birch")]
    with pytest.raises(CannotShare):
        Ends(tmp_path / "saved").run(runs)


_CHILD = """
import sys, json
from pathlib import Path
sys.path.insert(0, {tests!r})
sys.path.insert(0, {here!r})
from test_pass import EIGHT, Ends, a_run
base, root = Path(sys.argv[1]), Path(sys.argv[2])
names = [name for name in EIGHT if not (root / "saved" / f"saved-{{name}}").exists()]
runs = [a_run(base, name, EIGHT[name], root / "runs") for name in names]
print("ready", flush=True)
if runs:
    tell = lambda event: print(event.done, flush=True)
    Ends(root / "saved").run(runs, checkpoint_seconds=0.0, listener=tell)
print("done", flush=True)
"""


def killed_pass(base: Path, root: Path, kills: int) -> None:
    """Run the eight in children that are killed after a random number of events."""
    chance = random.Random(0)
    here = Path(__file__).parent
    code = _CHILD.format(tests=str(here.parent), here=str(here))
    done = 0
    while True:
        after = chance.randint(1, 12) if done < kills else 10**9
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(base), str(root)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        ended = False
        for lines, line in enumerate(child.stdout):
            ended = line.strip() == "done"
            if lines == after:
                child.send_signal(signal.SIGKILL)
                break
        child.wait()
        child.stdout.close()
        if ended:
            return
        done += 1


def kills_change_nothing(base: Path, root: Path, kills: int) -> None:
    killed_pass(base, root / "cut", kills)
    runs = [a_run(base, name, own, root / "runs") for name, own in EIGHT.items()]
    whole = Ends(root / "whole").run(runs)
    for name, weights in whole.weights.items():
        saved = load_file(root / "cut" / "saved" / f"saved-{name}" / WEIGHTS)
        # Who is packed with whom differs after a kill, and with it the rounding.
        assert distance(saved, weights) < 1e-5, name
        log = (root / "cut" / "runs" / name / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in log]
        assert steps == list(range(1, len(steps) + 1))


def test_a_killed_pass_goes_on(tiny_base: Path, tmp_path: Path) -> None:
    kills_change_nothing(tiny_base, tmp_path, kills=2)


@pytest.mark.slow
def test_twenty_kills_of_a_pass_change_nothing(tiny_base: Path, tmp_path: Path) -> None:
    kills_change_nothing(tiny_base, tmp_path, kills=20)
