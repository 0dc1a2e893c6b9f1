"""Predicted against measured: peak memory and time of a step, over a grid of real runs.

    python benchmarks/plan_accuracy.py          the grid; keeps all points in results/
    python benchmarks/plan_accuracy.py --fit    the constants, from runs that are not in the grid

Each run has a process of its own, forked from one that has imported the libraries and done nothing
with them. It trains three steps; the time is the second's. With one thread (OMP_NUM_THREADS=1) it
is processor time, which a busy machine does not falsify; else it is the clock's. `ours` is the
share of runs whose peak is within 10%, whose time is within 25%, and the worst memory that was
predicted too low; `rival` is what was asked for. The time card is measured once, before the runs.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _case import emit, versions
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen3Config

from copydesk.models import BaseInfo, BaseStore, Encoded, find_method
from copydesk.store import default_cache
from copydesk.study import Machine, find_architecture, this_machine
from copydesk.study._plan import Sizes, size_run
from copydesk.study._time_model import epoch_seconds
from copydesk.train import Recipe, make_settings, tune

CPU = torch.device("cpu")
STEPS = 3
SHAPES: dict[str, Any] = {
    "llama-45m": LlamaConfig(
        vocab_size=16384,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=10,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    ),
    "qwen3-320m": Qwen3Config(
        vocab_size=32768,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=18,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    ),
}
SMOL = "smollm2-135m"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A run: `batch` tokens a step, in examples of `length` tokens."""

    shape: str
    method: str
    length: int
    batch: int
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def overrides(self) -> dict[str, str]:
        own = {"max_length": str(self.length), "batch_tokens": str(self.batch)}
        return own | {"max_steps": str(STEPS), "eval_steps": "100"} | dict(self.settings)


def _case(shape: str, method: str, length: int, batch: int, **settings: Any) -> Case:
    pairs = tuple((key, str(value)) for key, value in settings.items())
    return Case(shape=shape, method=method, length=length, batch=batch, settings=pairs)


GRID = (
    _case(SMOL, "lora", 128, 128),
    _case(SMOL, "lora", 256, 512, lora_r=8),
    _case(SMOL, "lora", 512, 512),
    _case(SMOL, "lora", 384, 768, lora_r=32),
    _case(SMOL, "full", 128, 128),
    _case(SMOL, "full", 256, 512),
    _case(SMOL, "qlora", 128, 128),
    _case(SMOL, "qlora", 256, 512),
    _case(SMOL, "prefix", 256, 256),
    _case(SMOL, "dora", 128, 128),
    _case(SMOL, "dora", 256, 256),
    _case("llama-45m", "lora", 256, 256),
    _case("llama-45m", "lora", 512, 1024),
    _case("llama-45m", "lora", 768, 768),
    _case("llama-45m", "full", 256, 256),
    _case("llama-45m", "full", 512, 1024, optimizer="adamw_8bit"),
    _case("llama-45m", "full", 512, 1536),
    _case("llama-45m", "qlora", 512, 512),
    _case("llama-45m", "prefix", 512, 1024),
    _case("llama-45m", "dora", 512, 512),
    _case("qwen3-320m", "lora", 128, 128),
    _case("qwen3-320m", "lora", 256, 256),
    _case("qwen3-320m", "full", 128, 128),
    _case("qwen3-320m", "full", 192, 192),
    _case("qwen3-320m", "qlora", 128, 128),
    _case("qwen3-320m", "prefix", 256, 256),
)
FIT = (
    _case("llama-45m", "lora", 128, 128),
    _case("llama-45m", "full", 128, 512),
    _case(SMOL, "lora", 320, 320),
    _case(SMOL, "full", 192, 384),
    _case(SMOL, "bottleneck", 256, 256),
)


def the_clock() -> Callable[[], float]:
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def make_base(folder: Path, config: Any) -> None:
    """A random base in the ordinary layout, with a tokenizer of few words."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="a").save_pretrained(folder)


def measure(case: Case, folder: str) -> dict[str, float]:
    """Train three steps, in this process; bytes of the peak and seconds of the second step."""
    if case.shape == SMOL:
        info = BaseStore(default_cache()).find(SMOL)
    else:
        info = BaseInfo(name=case.shape, path=Path(folder) / case.shape, digest="", bytes=0)
    run, own = make_settings(case.method, case.overrides)
    recipe = Recipe(
        base=info,
        dataset_digest="",
        template_digest="",
        method=case.method,
        run=run,
        own=own,
        dtype=find_method(case.method).dtype("float32", CPU),
    )
    count = STEPS * (case.batch // case.length)
    examples = [
        Encoded(
            id=str(number),
            ids=tuple((number * 31 + place * 7) % 1000 for place in range(case.length)),
            prompt_length=max(1, case.length // 10),
        )
        for number in range(count)
    ]
    clock = the_clock()
    times: list[float] = []
    with tempfile.TemporaryDirectory() as runs:
        tuning = tune(
            recipe,
            examples,
            [dataclasses.replace(examples[0], ids=examples[0].ids[:32], prompt_length=3)],
            device=CPU,
            folder=Path(runs) / "run",
            task="grid",
            loss_before=1.0,
            checkpoint_seconds=3600,
            listener=lambda _: times.append(clock()),
        )
    return {
        "peak_memory_bytes": tuning.peak_memory_bytes,
        "step_seconds": times[2] - times[1],
    }


def sizes_of(case: Case, machine: Machine, folder: str) -> Sizes:
    """The prediction's parts. The grid is float32, which `this` may not prefer."""
    place = case.shape if case.shape == SMOL else str(Path(folder) / case.shape)
    architecture = find_architecture(place, cache=default_cache())
    architecture = dataclasses.replace(architecture, stored_dtype="float32")
    overrides = case.overrides | {"dtype": "float32"}
    return size_run(architecture, case.method, machine, overrides)


def predict(cases: tuple[Case, ...], machine: Machine, folder: str) -> list[dict[str, Any]]:
    """Memory by part and time of each case."""
    found: list[dict[str, Any]] = []
    for case in cases:
        sizes = sizes_of(case, machine, folder)
        parts = sizes.memory(sizes.trace.tokens, machine)
        seconds = epoch_seconds(
            sizes.trace, sizes.fixed, machine, tokens=case.batch, batch_tokens=case.batch
        )
        found.append(
            {
                "peak_memory_bytes": parts.total,
                "step_seconds": seconds,
                "memory": dataclasses.asdict(parts),
                "held": sizes.held(sizes.trace.tokens).total,
            }
        )
    return found


def in_fresh_process(function: Any, *arguments: Any) -> Any:
    """What a function returns in a process that has done nothing before."""
    context = multiprocessing.get_context("forkserver")
    with context.Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(function, arguments)


def calibrated(folder: str) -> Machine:
    return this_machine(CPU, cache=Path(folder), again=True, clock=the_clock())


def prepare(folder: str) -> None:
    for name, config in SHAPES.items():
        make_base(Path(folder) / name, config)


def run_cases(cases: tuple[Case, ...], folder: str) -> list[dict[str, Any]]:
    """Points: the case, what was predicted, what was measured."""
    in_fresh_process(prepare, folder)
    machine = in_fresh_process(calibrated, folder)
    predicted = in_fresh_process(predict, cases, machine, folder)
    points: list[dict[str, Any]] = []
    for case, expected in zip(cases, predicted, strict=True):
        measured = in_fresh_process(measure, case, folder)
        point = {**dataclasses.asdict(case), "predicted": expected, "measured": measured}
        points.append(point)
        print(json.dumps(point), file=sys.stderr, flush=True)
    return points


def ratios(points: list[dict[str, Any]], key: str) -> list[float]:
    return [point["predicted"][key] / point["measured"][key] for point in points]


def report(points: list[dict[str, Any]]) -> None:
    memory, times = ratios(points, "peak_memory_bytes"), ratios(points, "step_seconds")

    def share(values: list[float], within: float) -> float:
        return round(sum(abs(value - 1) <= within for value in values) / len(values), 3)

    ours = {
        "runs": len(points),
        "memory_within_10_percent": share(memory, 0.10),
        "memory_lowest_ratio": round(min(memory), 3),
        "time_within_25_percent": share(times, 0.25),
    }
    wanted = {
        "runs": 24,
        "memory_within_10_percent": 0.9,
        "memory_lowest_ratio": 0.85,
        "time_within_25_percent": 0.9,
    }
    emit(
        {
            "benchmark": "plan-accuracy",
            "versions": versions("torch", "transformers", "peft", "bitsandbytes"),
            "threads": torch.get_num_threads(),
            "clock": the_clock().__name__,
            "ours": ours,
            "rival": wanted,
            "ratio": round(ours["memory_within_10_percent"] / 0.9, 3),
            "points": points,
        }
    )


def fit(points: list[dict[str, Any]]) -> None:
    """Least squares: what is not counted = runtime + share x what is alive at the peak."""
    rows, left = [], []
    for point in points:
        memory = point["predicted"]["memory"]
        counted = sum(value for name, value in memory.items() if name != "overhead")
        rows.append([1.0, point["predicted"]["held"] / 1e9])
        left.append([(point["measured"]["peak_memory_bytes"] - counted) / 1e9])
    solution = torch.linalg.lstsq(torch.tensor(rows), torch.tensor(left)).solution.flatten()
    print(json.dumps({"runtime_gb": float(solution[0]), "allocator": float(solution[1])}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true")
    chosen = parser.parse_args()
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line sets it
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["torch", "transformers", "peft", "bitsandbytes", "copydesk.study", "__main__"]
    )
    folder = tempfile.mkdtemp()
    try:
        points = run_cases(FIT if chosen.fit else GRID, folder)
    finally:
        shutil.rmtree(folder)
    (fit if chosen.fit else report)(points)


if __name__ == "__main__":
    main()
