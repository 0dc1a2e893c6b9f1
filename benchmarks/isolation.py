"""Whether one client's adapter ever answers for another, while everything that can happen happens.

    python benchmarks/isolation.py [--requests 10000] [--clients 12] [--threads 24]
        [--dtype float32|bfloat16]

Each client (26 at most) has two versions that were trained to answer anything with their own mark:
a letter, large or small. The benchmark starts `copydesk serve` with room for fewer adapters than
there are versions, and asks from many threads, by `client`, `client@n`, alone and several answers
at once, whole and streamed. Meanwhile

- versions are promoted, rolled back and added, several a second;
- of the requests one in twelve is hung up on before it ends;
- one client's adapter is NaN, another's has numbers of 1e30, a third's are a hundred thousand times
  what was trained;
- some prompts are as long as the window allows.

`ours.crossed` counts answers that another client's version, or one that was not asked for, is named
for, or that are not the mark of the version they name nor what it says alone; it has to be 0. Of a
few prompts, the longest mostly, the tiny adapters do not give their mark cleanly: each such answer
is asked again alone at the end, and has to be the same then, letter for letter (`flawed alone
too`). `ours.changed` counts answers to a fixed set of questions that are not, token for token, what
the same version answered before the traffic began.
The base is tiny (two layers, a token for each byte): what is tried is the bookkeeping, not the
arithmetic. In bfloat16 `changed` also counts likeliest tokens that rounding decided. `--keep`
leaves the result out of `results/`.
"""

import argparse
import collections
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from _case import emit, versions
from _marks import (
    SIGNED,
    drawn_out,
    mark,
    question,
    register,
    signing_workspace,
    spoiled,
    tiny_base,
)
from _served import copydesk_serve

import copydesk
from copydesk.models import BaseInfo
from copydesk.registry import Standard, find_version, live_version, promote, rollback

PROBES = 6
POISONED = ("x-nan", "x-huge", "x-wild")


@dataclass
class Seen:
    """What came back, counted by all threads."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    unclean: list[tuple[str, str, list[str]]] = field(
        default_factory=list[tuple[str, str, list[str]]]
    )
    """(version, prompt, texts) of answers that are not the version's mark."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, wrong: str = "") -> None:
        with self.lock:
            self.counts[what] += 1
            if wrong:
                self.wrong.append(wrong)


def ask(http: httpx2.Client, model: str, prompt: str, **more: Any) -> tuple[str, str, list[str]]:
    """(status, the version that answered, its texts)."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": SIGNED,
        "temperature": 0,
    } | more
    answer = http.post("/v1/chat/completions", json=body)
    if answer.status_code != 200:
        return str(answer.status_code), "", []
    if not more.get("stream"):
        found = answer.json()
        return "200", found["model"], [one["message"]["content"] for one in found["choices"]]
    model, texts = "", [""] * int(more.get("n", 1))
    for line in answer.text.splitlines():
        if not line.startswith("data: {"):
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            return "broken", "", []
        model = chunk["model"]
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    return "200", model, texts


def hang_up(http: httpx2.Client, model: str, prompt: str) -> None:
    """Ask for a long answer and go away at its first words."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 200,
        "temperature": 1.5,
        "stream": True,
    }
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        for _ in answer.iter_bytes():
            break


def traffic(
    url: str, clients: list[str], share: int, seed: int, seen: Seen, probes: dict[str, list[str]]
) -> None:
    """One thread's requests."""
    draw = random.Random(seed)
    with httpx2.Client(base_url=url, timeout=300.0) as http:
        for number in range(share):
            client = draw.choice(clients)
            model = client + draw.choice(["", "", "@1", "@2"])
            kind = draw.randrange(12)
            if kind == 0:
                with contextlib.suppress(httpx2.HTTPError):
                    hang_up(http, model, question(number))
                seen.add("hung up")
                continue
            if kind == 1:
                status, _, _ = ask(http, draw.choice(POISONED), question(number))
                seen.add(f"poisoned {status}")
                continue
            if kind == 2 and "@" in model:
                at = draw.randrange(PROBES)
                status, _, texts = ask(http, model, question(at), max_tokens=3 * SIGNED)
                same = status == "200" and texts == [probes[model][at]]
                told = f"{model} answered {texts} and not {probes[model][at]!r}"
                seen.add("changed" if not same else "probed", "" if same else told)
                continue
            prompt = question(number, draw.randrange(1, 40))
            if kind == 3:
                prompt = drawn_out(prompt)
            more = {"n": draw.choice([1, 1, 2]), "stream": draw.random() < 0.5}
            check(model, prompt, ask(http, model, prompt, **more), seen)


def check(model: str, prompt: str, answer: tuple[str, str, list[str]], seen: Seen) -> None:
    """Count an answer by whether it is signed by the version that it names."""
    status, version, texts = answer
    if status != "200":
        seen.add(f"status {status}", f"{model} was answered {status}")
        return
    own, _, number = version.partition("@")
    if version != model and own != model:
        seen.add("crossed", f"{model} was answered by {version}: {texts}")
    elif all(text == mark(own, int(number)) for text in texts):
        seen.add("right")
    else:
        with seen.lock:
            seen.unclean.append((version, prompt, texts))


def replay(http: httpx2.Client, seen: Seen) -> None:
    """Ask alone what was not cleanly signed: an adapter that learned its mark with a flaw repeats
    it, letter for letter; what a version does not say alone came from elsewhere."""
    for version, prompt, texts in seen.unclean:
        status, _, alone = ask(http, version, prompt)
        if status == "200" and all(text == alone[0] for text in texts):
            seen.add("flawed alone too")
        else:
            seen.add("crossed", f"{version} said {texts}, and alone {alone}")


def churn(
    root: Path, clients: list[str], info: BaseInfo, seen: Seen, over: threading.Event
) -> None:
    """Promote, roll back and add versions until it is over."""
    draw = random.Random(5)
    standard = Standard(thresholds="none", base=info.digest)
    with copydesk.open(root) as workspace:
        catalogue = workspace.catalogue
        while not over.wait(0.1):
            client = draw.choice(clients)
            step = draw.randrange(3)
            live = live_version(catalogue, client)
            if step == 0:
                other = find_version(catalogue, f"{client}@{1 + live.number % 2}")
                if other.number != live.number:
                    promote(catalogue, other, standard, by="benchmark", force_reason="churn")
                    seen.add("promoted")
            elif step == 1:
                with contextlib.suppress(copydesk.errors.CopydeskError):  # nothing to go back to
                    rollback(catalogue, client, by="benchmark")
                    seen.add("rolled back")
            else:  # the next version has the mark of its kind: odd ones B, even ones A
                newest = max(entry.number for entry in catalogue.entries("versions", client))
                same = find_version(catalogue, f"{client}@{2 - (newest + 1) % 2}")
                made = register(workspace, client, info, same.path)
                seen.add("added")
                if draw.random() < 0.5:
                    promote(catalogue, made, standard, by="benchmark", force_reason="churn")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--threads", type=int, default=24)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--keep", action="store_true", help="print the line, keep no result")
    given = parser.parse_args()
    clients = [f"c{number:02}" for number in range(given.clients)]
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        info = tiny_base(place)
        with signing_workspace(place / "agency", info, clients) as workspace:
            first = find_version(workspace.catalogue, f"{clients[0]}@1").path
            for client, value in zip(POISONED, (float("nan"), 1e30, 1e5), strict=True):
                workspace.add_client(client)
                register(workspace, client, info, spoiled(first, place / client, value))
        print("adapters are trained", file=sys.stderr)
        log = place / "serve.log"
        more = ("--max-running", "8", "--max-adapters", "8", "--max-waiting", "512")
        more += ("--dtype", given.dtype)
        with copydesk_serve(place / "agency", *more, log=log) as server:
            seconds = run(server["url"], place / "agency", clients, info, given, seen)
            state = httpx2.get(f"{server['admin_url']}/state").json()
    counts = seen.counts
    line = {
        "benchmark": "isolation" + ("" if given.dtype == "float32" else f"-{given.dtype}"),
        "versions": versions("torch", "transformers"),
        "ours": {
            "crossed": counts["crossed"],
            "changed": counts["changed"],
            "seconds": round(seconds, 1),
            "counts": dict(sorted(counts.items())),
            "wrong": seen.wrong[:10],
            "engine": state["figures"],
        },
        "rival": None,
        "ratio": None,
        "requests": given.requests,
        "clients": given.clients,
        "threads": given.threads,
    }
    if given.keep:
        print(json.dumps(line))
    else:
        emit(line)
    sys.exit(1 if seen.wrong else 0)


def run(url: str, root: Path, clients: list[str], info: BaseInfo, given: Any, seen: Seen) -> float:
    """Ask the probes alone, then everything at once; the seconds that took."""
    probes: dict[str, list[str]] = {}
    with httpx2.Client(base_url=url, timeout=300.0) as http:
        for client in clients:
            for model in (f"{client}@1", f"{client}@2"):
                alone = [
                    ask(http, model, question(at), max_tokens=3 * SIGNED) for at in range(PROBES)
                ]
                probes[model] = [texts[0] for _, _, texts in alone]
    over = threading.Event()
    churning = threading.Thread(target=churn, args=(root, clients, info, seen, over))
    share = given.requests // given.threads
    threads = [
        threading.Thread(target=traffic, args=(url, clients, share, seed, seen, probes))
        for seed in range(given.threads)
    ]
    began = time.monotonic()
    for thread in (churning, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    over.set()
    churning.join()
    with httpx2.Client(base_url=url, timeout=300.0) as http:
        replay(http, seen)
    return seconds


if __name__ == "__main__":
    main()
