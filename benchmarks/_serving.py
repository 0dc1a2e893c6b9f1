"""What the serving benchmarks share: adapters, prompts, an engine, a rival's environment.

Adapters are random (B drawn with a deviation of 0.01): a rate does not depend on what they learned,
and eight of them write eight different texts.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEW = 96
"""Tokens of each answer."""
TOPICS = ("bread", "rain", "walking", "ink", "harbours", "glass", "orchards", "trains")


def cache_folder() -> Path:
    from copydesk.store import default_cache

    return default_cache() / "benchmarks"


def base_info() -> Any:
    from copydesk.models import BaseStore
    from copydesk.store import default_cache

    return BaseStore(default_cache()).pull("smollm2-135m")


def prompts(count: int, *, first: int = 0) -> list[str]:
    """Different short briefs whose answers are long."""
    return [
        f"Write a long and detailed article, part {number}, about {TOPICS[number % len(TOPICS)]} "
        "and the people who live by it. Do not stop early."
        for number in range(first, first + count)
    ]


def adapters(count: int) -> list[Path]:
    """LoRA adapters, r=8 on all linear layers, made once."""
    import torch

    from copydesk.models import find_method, load_base

    info = base_info()
    folder = cache_folder() / f"adapters-{info.digest[:12]}"
    folders = [folder / f"client{number}" for number in range(count)]
    missing = [path for path in folders if not (path / "adapter_model.safetensors").is_file()]
    if missing:
        method = find_method("lora")
        settings = method.settings(lora_r=8, lora_alpha=16)
        base = load_base(info, device=torch.device("cpu"), dtype=torch.float32)
        tuned = method.prepare(base, settings, 0)
        for path in missing:
            source = torch.Generator().manual_seed(int(path.name.removeprefix("client")))
            with torch.no_grad():
                for name, parameter in tuned.parameters.items():
                    if "lora_B" in name:
                        parameter.copy_(torch.randn(parameter.shape, generator=source) * 0.01)
            path.mkdir(parents=True, exist_ok=True)
            method.save(tuned, path)
    return folders


def refs(folders: Sequence[Path]) -> list[Any]:
    from copydesk.records import AdapterRef

    digest = base_info().digest
    return [
        AdapterRef(name=f"{path.name}@1", path=path, digest=path.name, base_digest=digest)
        for path in folders
    ]


def start(*, threads: int, quantise: str | None = None, **settings: Any) -> Any:
    """An engine over the base in bfloat16."""
    import torch

    from copydesk.models import load_base
    from copydesk.serve import EngineSettings, start_engine

    torch.set_num_threads(threads)
    base = load_base(base_info(), device=torch.device("cpu"), dtype=torch.bfloat16)
    return start_engine(
        base,
        EngineSettings(
            quantise=quantise,  # pyright: ignore[reportArgumentType]
            threads=threads,
            max_length=1024,
            **settings,
        ),
    )


def request(words: str, adapter: Any, new: int = NEW) -> Any:
    from copydesk.records import Generate, Message, Sampling

    return Generate(
        prompt=(Message(role="user", content=words),),
        adapter=adapter,
        sampling=Sampling(max_new_tokens=new, temperature=0, repetition_penalty=1.0),
    )


def round_of(engine: Any, asked: Sequence[tuple[str, Any]]) -> dict[str, float]:
    """All requests at once: tokens a second over the whole, and the latest first token."""
    began = time.perf_counter()
    jobs = [engine.submit(request(words, adapter)) for words, adapter in asked]
    found = [job.result(600) for job in jobs]
    seconds = time.perf_counter() - began
    tokens = sum(each.completion.tokens for each in found)
    return {
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "first_token_seconds": max(each.first_token_seconds for each in found),
    }


def rival_environment(name: str, packages: Sequence[str], unwanted: Sequence[str] = ()) -> Path:
    """The Python of a virtual environment that holds a rival; made by pip when it is not there."""
    folder = cache_folder() / name
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        print(f"installing {' '.join(packages)} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", *packages], check=True, stdout=sys.stderr)
        if unwanted:
            subprocess.run(
                [*pip, "uninstall", "--quiet", "--yes", *unwanted], check=True, stdout=sys.stderr
            )
        (folder / "ready").touch()
    return python


def run_rival(
    python: Path, script: Path, given: dict[str, Any], **environment: str
) -> dict[str, Any]:
    """Run a rival's script in its environment: JSON in, the last line out."""
    done = subprocess.run(
        [str(python), str(script)],
        input=json.dumps(given),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **environment},
    )
    if done.returncode != 0:
        sys.exit(f"{script.name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
