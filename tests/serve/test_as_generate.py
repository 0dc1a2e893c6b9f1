"""Greedy text of the real base equals transformers' generate with PEFT, token for token."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from copydesk.models import BaseStore, encode_chat, find_method, load_adapter, load_base
from copydesk.records import AdapterRef, Generate, Message, Sampling
from copydesk.serve import EngineSettings, start_engine
from copydesk.store import default_cache

CPU = torch.device("cpu")
PROMPTS, NEW, CLIENTS = 200, 24, 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_prompts_write_as_generate_does(tmp_path: Path) -> None:
    info = BaseStore(default_cache()).pull("smollm2-135m")
    refs = [None, *(_adapter(info, tmp_path / f"client{n}", n) for n in range(CLIENTS - 1))]
    draw = random.Random(0)
    words = [
        "bread",
        "rain",
        "ink",
        "glass",
        "trains",
        "harbour",
        "orchard",
        "letter",
        "winter",
        "market",
        "violin",
        "map",
    ]
    asked = [
        (
            Message(
                role="user", content=f"Write about {' and '.join(draw.sample(words, 1 + n % 5))}."
            ),
        )
        for n in range(PROMPTS)
    ]
    wanted = {ref: _generate(info, ref, asked[number::CLIENTS]) for number, ref in enumerate(refs)}
    base = load_base(info, device=CPU, dtype=torch.float32)
    engine = start_engine(base, EngineSettings(max_running=16, max_length=512, prefill_tokens=64))
    try:
        assert engine.state().figures["handwritten"] == 1
        jobs = [engine.submit(_request(chat, refs[n % CLIENTS])) for n, chat in enumerate(asked)]
        together = [job.result(3000).completion.text for job in jobs]
        expected = [wanted[refs[n % CLIENTS]][n // CLIENTS] for n in range(PROMPTS)]
        assert together == expected
        for n in range(0, PROMPTS, 20):
            alone = engine.submit(_request(asked[n], refs[n % CLIENTS])).result(600)
            assert alone.completion.text == expected[n]
    finally:
        engine.stop()


def _request(chat: tuple[Message, ...], ref: AdapterRef | None) -> Generate:
    sampling = Sampling(max_new_tokens=NEW, temperature=0, repetition_penalty=1.0)
    return Generate(prompt=chat, adapter=ref, sampling=sampling)


def _adapter(info: Any, folder: Path, seed: int) -> AdapterRef:
    method = find_method("lora")
    base = load_base(info, device=CPU, dtype=torch.float32)
    tuned = method.prepare(base, method.settings(lora_r=4 + 4 * seed), seed)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in tuned.parameters.items():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=source) * 0.02)
    folder.mkdir()
    method.save(tuned, folder)
    return AdapterRef(name=folder.name, path=folder, digest=folder.name, base_digest=info.digest)


def _generate(info: Any, ref: AdapterRef | None, chats: list[tuple[Message, ...]]) -> list[str]:
    base = load_base(info, device=CPU, dtype=torch.float32)
    model: Any = base.model
    if ref is not None:
        model = load_adapter(base, ref.path, bound_to=info.digest).model
    texts: list[str] = []
    for chat in chats:
        ids = torch.tensor([encode_chat(base.tokenizer, chat)])
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW,
                do_sample=False,
                pad_token_id=2,
            )
        texts.append(base.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
    return texts
