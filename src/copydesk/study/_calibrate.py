"""The present machine as a hardware card, measured once.

Rates of matrix products, the memory's bandwidth and the cost of a small operation are timed by
themselves. Then the real loss runs over a small random model, by LoRA and in full, and `efficiency`
is set so that the prediction meets its time: what the single figures leave out goes in there.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, LlamaConfig

from copydesk.models import (
    ATTENTION,
    Base,
    BaseInfo,
    Batch,
    Encoded,
    Share,
    backward_batches,
    find_method,
    hollow_base,
    make_lanes,
    pack,
)
from copydesk.records import Listener, Progress, ignore_progress
from copydesk.store import json_bytes, replace_bytes
from copydesk.study._hardware import THIS, Hardware, Machine, Rates
from copydesk.study._time_model import work_seconds
from copydesk.study._trace import Operation, trace_micro

Clock = Callable[[], float]
TOKENS = 512
"""Of the calibration's micro-batch."""
METHODS = ("lora", "full")
_CONFIG: Mapping[str, Any] = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
_PRODUCTS = ((1024, 576, 1536), (512, 2048, 2048))
"""Rows, inputs, outputs: a small model's and a larger one's layer."""
_REPEATS = 8
_STREAM = 1 << 26
"""Bytes of each array of the bandwidth's measurement: beyond any cache."""
_SMALL_OPERATIONS = 2000
_BISECTIONS = 40
_LOOP = 4
"""Counted up where the loop's speed changes, so that cards measured before are measured again."""


def this_machine(
    device: torch.device,
    *,
    cache: Path,
    hourly_usd: float | None = None,
    again: bool = False,
    clock: Clock = time.perf_counter,
    listener: Listener = ignore_progress,
) -> Machine:
    """The present machine, measured at the first call and read from the cache afterwards.

    Args:
        device: which to measure.
        cache: the user's cache folder; the card is `hardware/this.json` in it.
        hourly_usd: what an hour of it costs, where that is known.
        again: measure even if it was measured before.
        clock: in seconds; on a busy machine, with one thread, `time.process_time` tells what the
            work takes by itself.
        listener: receives progress where it is measured.
    """
    path, identity = _card_path(cache), _identity(device)
    card = None if again else _remembered(path, identity)
    if card is None:
        card = measure(device, clock, listener)
        record = {"machine": identity, "card": card.model_dump(mode="json")}
        replace_bytes(path, json_bytes(record))
    if hourly_usd is not None:
        stated = {
            **card.model_dump(),
            "price": {
                "hourly_usd": hourly_usd,
                "date": time.strftime("%Y-%m-%d"),
                "source": "hourly_usd in copydesk.toml",
            },
        }
        card = Hardware.model_validate(stated)
    return Machine(name=THIS, device=card, count=1)


def known_machine(device: torch.device, *, cache: Path) -> Machine | None:
    """The present machine, if it was measured before; see `this_machine`."""
    card = _remembered(_card_path(cache), _identity(device))
    return None if card is None else Machine(name=THIS, device=card, count=1)


def _card_path(cache: Path) -> Path:
    return cache / "hardware" / f"{THIS}.json"


def _remembered(path: Path, identity: Mapping[str, Any]) -> Hardware | None:
    """The card in the cache; None where there is none, or another machine's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["machine"] == identity:
            return Hardware.model_validate(record["card"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return None


def _identity(device: torch.device) -> dict[str, Any]:
    """What a card stands and falls with."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "device": f"{device.type}: {name}",
        "host": platform.node(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "loop": _LOOP,
    }


def measure(
    device: torch.device,
    clock: Clock = time.perf_counter,
    listener: Listener = ignore_progress,
) -> Hardware:
    """Measure a device; takes seconds on a GPU, half a minute on two cores."""

    def tell(done: int) -> None:
        listener(
            Progress(task="measure this machine", done=done, total=4 + len(METHODS), unit="rates")
        )

    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        label, memory = properties.name, int(properties.total_memory)
    else:
        label = f"this machine, {torch.get_num_threads()} threads"
        memory = int(psutil.virtual_memory().total)
    tell(0)
    bandwidth = _bandwidth(device, clock)
    tell(1)
    float32 = _rate(device, torch.float32, clock)
    tell(2)
    bfloat16 = _rate(device, torch.bfloat16, clock)
    tell(3)
    card = Hardware(
        label=label,
        kind="cuda" if device.type == "cuda" else "cpu",
        memory_bytes=memory,
        memory_bandwidth=bandwidth,
        dense_flops=Rates(float32=float32, bfloat16=bfloat16),
        efficiency=1.0,
        operation_seconds=_operation(device, clock),
        threads=None if device.type == "cuda" else torch.get_num_threads(),
    )
    seconds = 0.0
    work: list[Mapping[Operation, float]] = []
    for number, method in enumerate(METHODS):
        tell(4 + number)
        seconds += _loop_seconds(method, device, clock)
        work.append(_traced(method))
    tell(4 + len(METHODS))
    return card.model_copy(update={"efficiency": fitted_efficiency(card, work, seconds)})


def fitted_efficiency(
    card: Hardware, work: list[Mapping[Operation, float]], seconds: float
) -> float:
    """The efficiency at which the work is predicted to take so many seconds, within 0.05 and 2.

    Where even twice the rate is too slow, memory and small operations set the time; where a
    twentieth is too fast, the machine was busy with something else.
    """
    low, high = 0.05, 2.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        tried = card.model_copy(update={"efficiency": middle})
        if sum(work_seconds(one, tried) for one in work) > seconds:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _best(run: Callable[[], Any], device: torch.device, clock: Clock) -> float:
    seconds: list[float] = []
    for _ in range(_REPEATS):
        started = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(clock() - started)
    return min(seconds)


def _rate(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """Floating-point operations a second, the better of two shapes."""
    rates: list[float] = []
    for rows, inputs, outputs in _PRODUCTS:
        x = torch.ones(rows, inputs, device=device, dtype=dtype)
        w = torch.ones(outputs, inputs, device=device, dtype=dtype)
        seconds = _best(lambda x=x, w=w: torch.nn.functional.linear(x, w), device, clock)
        rates.append(2 * rows * inputs * outputs / seconds)
    return max(rates)


def _bandwidth(device: torch.device, clock: Clock) -> float:
    """Bytes a second of an addition: two arrays read, one written."""
    x = torch.ones(_STREAM // 4, device=device)
    y, out = torch.ones_like(x), torch.empty_like(x)
    return 3 * _STREAM / _best(lambda: torch.add(x, y, out=out), device, clock)


def _operation(device: torch.device, clock: Clock) -> float:
    """Seconds of a small operation with gradients on, from Python."""
    x = torch.ones(16, device=device, requires_grad=True)

    def many() -> None:
        y = x
        for _ in range(_SMALL_OPERATIONS):
            y = y * 1.0

    return _best(many, device, clock) / _SMALL_OPERATIONS


def _loop_seconds(method: str, device: torch.device, clock: Clock) -> float:
    """Seconds of a micro-batch of the small random model, of two as a run takes them; the best."""
    hollow_base(_config(), "calibration", dtype=torch.float32)  # makes our attention known
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(
            _config(), dtype=torch.float32, attn_implementation=ATTENTION
        ).to(device)
    model.requires_grad_(False)
    base = Base(
        info=BaseInfo(name="calibration", path=Path(), digest="", bytes=0),
        model=model,
        tokenizer=None,
        device=device,
        dtype=torch.float32,
        packed=True,
    )
    found = find_method(method)
    tuned = found.prepare(base, found.settings(), 0)
    tuned.model.train()
    example = Encoded(id="calibration", ids=(1,) * TOKENS, prompt_length=TOKENS // 8)
    lanes = make_lanes(tuned, 2 * TOKENS)
    batch = Batch(
        tuned=tuned,
        packed=pack([example]).to(device),
        shares=(Share(adapter=tuned.adapter, examples=1, divisor=example.answer_length),),
        parameters=tuple(tuned.parameters.values()),
    )
    seconds: list[float] = []
    for _ in range(3):
        started = clock()
        backward_batches([batch, batch], lanes)
        seconds.append((clock() - started) / 2)
    return min(seconds)


def _traced(method: str) -> Mapping[Operation, float]:
    trace = trace_micro(
        _config(),
        method,
        find_method(method).settings(),
        dtype=torch.float32,
        lengths=[TOKENS],
        answer_share=7 / 8,
        accumulates=True,
    )
    return trace.work


def _config() -> LlamaConfig:
    return LlamaConfig(**_CONFIG)
