"""What tests of the engine share: tiny adapters, an engine, transformers' own answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from copydesk.models import (
    Base,
    BaseInfo,
    BaseStore,
    Tuned,
    encode_chat,
    find_method,
    load_adapter,
    load_base,
    untuned,
)
from copydesk.records import AdapterRef, Generate, Message, Sampling

CPU = torch.device("cpu")
GREEDY = Sampling(max_new_tokens=24, temperature=0, repetition_penalty=1.0)


def load(folder: Path, cache: Path) -> Base:
    """A base in float32, as it is loaded for generation."""
    info = BaseStore(cache).find(str(folder))
    return load_base(info, device=CPU, dtype=torch.float32)


def chat(words: str) -> tuple[Message, ...]:
    return (Message(role="user", content=words),)


def ask(words: str, adapter: AdapterRef | None = None, **options: Any) -> Generate:
    """A greedy request."""
    return Generate(prompt=chat(words), adapter=adapter, **{"sampling": GREEDY, **options})


def write_adapter(
    info: BaseInfo, folder: Path, method: str = "lora", *, seed: int = 0, **settings: Any
) -> AdapterRef:
    """An adapter with random numbers, saved as a version is."""
    chosen = find_method(method)
    base = load_base(info, device=CPU, dtype=torch.float32)
    tuned = chosen.prepare(base, chosen.settings(**settings), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    folder.mkdir(parents=True)
    chosen.save(tuned, folder)
    return AdapterRef(
        name=f"{folder.name}@1",
        path=folder,
        digest=f"digest of {folder.name} {method} {seed}",
        base_digest=info.digest,
    )


def reference(
    info: BaseInfo, prompts: list[str], adapter: AdapterRef | None, count: int = 24
) -> list[str]:
    """What transformers' `generate` writes, with PEFT, one prompt after the other."""
    base = load_base(info, device=CPU, dtype=torch.float32)
    tuned: Tuned = (
        untuned(base) if adapter is None else load_adapter(base, adapter.path, bound_to=info.digest)
    )
    texts: list[str] = []
    for words in prompts:
        ids = torch.tensor([encode_chat(base.tokenizer, chat(words))])
        with torch.inference_mode():
            output = tuned.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=base.tokenizer.pad_token_id,
            )
        texts.append(base.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
    return texts


METHODS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"lora_r": 4},
    "dora": {"lora_r": 4},
    "prefix": {"num_virtual_tokens": 6},
    "prompt": {"num_virtual_tokens": 6},
    "bottleneck": {"reduction_factor": 8},
}
