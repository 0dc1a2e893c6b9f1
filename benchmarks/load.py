"""Load on a server of OpenAI's interface: open-loop arrivals, percentiles of what readers wait for.

    python benchmarks/load.py --rates 0.5,1,2,4 --seconds 60                  its own copydesk serve
    python benchmarks/load.py --url http://HOST:8000 --models acme,birch      any server

Requests arrive at random (Poisson), at so many a second, whether or not earlier ones are answered:
a closed loop would slow down with the server and hide its queue (Schroeder et al. 2006). Each asks
one of the models, Zipf-distributed by `--zipf`, for a streamed answer, and three times are kept:

- `first`: from when the request was due to its first token, so that a generator that falls behind
  counts against the result;
- `between`: between tokens, the mean of each answer;
- `total`: from when it was due to its end.

Without `--url` it serves the default base with `--adapters` random adapters (r=8, all linear
layers) of a workspace of its own; `--serve-args` are passed on to `copydesk serve`. A line for each
rate goes into `ours.rates`: percentiles, tokens a second, errors by kind, and requests that were
still under way when the last was due. With `--tiny` the base is a random one of two layers.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from _case import emit, posts, versions
from _served import copydesk_serve

PERCENTS = (50, 90, 95, 99)


@dataclass(slots=True)
class Answer:
    """How one request went; times in seconds."""

    error: str = ""
    first: float = 0.0
    total: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0

    @property
    def between(self) -> float:
        return (self.total - self.first) / max(1, self.tokens - 1)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and so on by the nearest rank, with the greatest."""
    ordered = sorted(values)
    if not ordered:
        return {}
    found = {
        f"p{percent}": round(ordered[max(0, -(-percent * len(ordered) // 100) - 1)], 4)
        for percent in PERCENTS
    }
    return found | {"max": round(ordered[-1], 4)}


async def ask(http: httpx2.AsyncClient, body: dict[str, Any], due: float) -> Answer:
    """Send one request and read its stream to the end."""
    found = Answer()
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                found.error = str(answer.status_code)
                return found
            whole = False
            async for line in answer.aiter_lines():
                whole = whole or line == "data: [DONE]"
                if line.startswith("data: {"):
                    take(found, json.loads(line[6:]), due)
            if not whole and not found.error:
                found.error = "broken off"
    except httpx2.HTTPError as error:
        found.error = type(error).__name__
    found.total = time.monotonic() - due
    return found


def take(found: Answer, chunk: dict[str, Any], due: float) -> None:
    if "error" in chunk:
        found.error = str(chunk["error"].get("code") or "error")
        return
    for choice in chunk["choices"]:
        if choice["delta"].get("content") and not found.first:
            found.first = time.monotonic() - due
    if usage := chunk.get("usage"):
        found.tokens, found.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]


async def at_rate(url: str, models: list[str], rate: float, given: Any) -> dict[str, Any]:
    """Offer requests at a rate for a while; what came of them."""
    draw = random.Random(given.seed)
    weights = [1 / (rank + 1) ** given.zipf for rank in range(len(models))]
    titles = [post["title"] for post in posts("18f", "kestrel")[1]]
    limits = httpx2.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {given.key}"} if given.key else {}
    tasks: list[asyncio.Task[Answer]] = []
    async with httpx2.AsyncClient(
        base_url=url, timeout=given.timeout, limits=limits, headers=headers
    ) as http:
        began = time.monotonic()
        due = began
        while True:
            due += draw.expovariate(rate)
            if due - began > given.seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            body = {
                "model": draw.choices(models, weights)[0],
                "messages": [{"role": "user", "content": f"Write about: {draw.choice(titles)}"}],
                "max_tokens": given.tokens,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            tasks.append(asyncio.create_task(ask(http, body, due)))
        left = sum(not task.done() for task in tasks)
        answers = await asyncio.gather(*tasks)
        seconds = time.monotonic() - began
    return summary(rate, answers, seconds, left)


def summary(rate: float, answers: list[Answer], seconds: float, left: int) -> dict[str, Any]:
    """The figures of one rate."""
    good = [answer for answer in answers if not answer.error and answer.first]
    return {
        "rate": rate,
        "requests": len(answers),
        "answered": len(good),
        "errors": dict(Counter(answer.error for answer in answers if answer.error)),
        "left_at_the_end": left,
        "tokens_per_second": round(sum(answer.tokens for answer in good) / seconds, 1),
        "prompt_tokens_per_second": round(
            sum(answer.prompt_tokens for answer in good) / seconds, 1
        ),
        "first": percentiles([answer.first for answer in good]),
        "between": percentiles([answer.between for answer in good if answer.tokens > 1]),
        "total": percentiles([answer.total for answer in good]),
    }


def own_workspace(folder: Path, adapters: int, *, tiny: bool) -> list[str]:
    """A workspace with so many random adapters on the default base; the clients' names."""
    import torch
    from _marks import register, tiny_base

    import copydesk
    from copydesk.models import BaseStore, find_method, load_base
    from copydesk.store import default_cache

    store = BaseStore(default_cache())
    info = tiny_base(folder) if tiny else store.pull("smollm2-135m")
    method = find_method("lora")
    base = load_base(info, device=torch.device("cpu"), dtype=torch.bfloat16)
    tuned = method.prepare(base, method.settings(lora_r=8), 0)
    names = [f"client{number}" for number in range(adapters)]
    with copydesk.init(folder / "agency") as workspace:
        reference = str(info.path) if tiny else info.name
        (workspace.root / "copydesk.toml").write_text(f"base = {json.dumps(reference)}\n")
        for number, name in enumerate(names):
            draw = torch.Generator().manual_seed(number)
            with torch.no_grad():
                for parameter in tuned.parameters.values():
                    noise = torch.randn(parameter.shape, generator=draw) * 0.002
                    parameter.copy_(noise.to(parameter.dtype))
            made = folder / "adapters" / name
            made.mkdir(parents=True)
            method.save(tuned, made)
            workspace.add_client(name)
            register(workspace, name, info, made)
    return names


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", help="a server that runs, without /v1")
    parser.add_argument("--key", default="", help="of that server")
    parser.add_argument("--models", help="names, commonest first; by default all that it lists")
    parser.add_argument("--rates", default="0.5,1,2", help="requests a second, one after another")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate")
    parser.add_argument("--tokens", type=int, default=96, help="of an answer")
    parser.add_argument("--zipf", type=float, default=1.0, help="exponent; 0 is all alike")
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve-args", default="", help="for copydesk serve")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--keep", action="store_true", help="print the line, keep no result")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, url, peak = Path(name), given.url, None
        models = given.models.split(",") if given.models else None
        server: dict[str, Any] = {}
        if url is None:
            models = models or own_workspace(folder, given.adapters, tiny=given.tiny)
            more = given.serve_args.split()
            serving = copydesk_serve(folder / "agency", *more, log=folder / "serve.log")
            server = stack.enter_context(serving)
            url = server["url"]
        models = models or listed(url, given.key)
        for model in models:  # adapters and caches are warm, as they are in service
            warm = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
            head = {"authorization": f"Bearer {given.key}"} if given.key else {}
            warm |= {"max_tokens": 2}
            httpx2.post(f"{url}/v1/chat/completions", json=warm, headers=head, timeout=600)
        rates = []
        for rate in map(float, given.rates.split(",")):
            rates.append(asyncio.run(at_rate(url, models, rate, given)))
            print(json.dumps(rates[-1]), file=sys.stderr)
        if server:
            peak = _peak_bytes(server["pid"])
    line = {
        "benchmark": "load",
        "versions": versions("torch", "transformers", "uvicorn"),
        "ours": {"rates": rates, "peak_memory_bytes": peak},
        "rival": None,
        "ratio": None,
        "server": given.url or "copydesk serve",
        "models": len(models),
        "zipf": given.zipf,
        "tokens": given.tokens,
        "seconds": given.seconds,
    }
    if given.keep:
        print(json.dumps(line))
    else:
        emit(line)


def listed(url: str, key: str) -> list[str]:
    """What the server serves."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    found = httpx2.get(f"{url}/v1/models", headers=headers).json()
    return [model["id"] for model in found["data"]]


def _peak_bytes(pid: int) -> int | None:
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return None
    lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) * 1024 if lines else None


if __name__ == "__main__":
    main()
