"""The hand-written forward against transformers, family by family."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import SHAPE, write_base
from engines import METHODS, ask, load, reference, write_adapter
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from copydesk.serve import EngineSettings, start_engine

_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0}
FAMILIES: Mapping[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "llama with biases and scaled angles": LlamaConfig(
        **SHAPE,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={
            **_ROPE,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "mistral, windowed": MistralConfig(**SHAPE, sliding_window=16),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE),
    "gemma": GemmaConfig(**SHAPE),
    "gemma2, capped and windowed": Gemma2Config(
        **SHAPE, sliding_window=16, attn_logit_softcapping=1.0, final_logit_softcapping=2.0
    ),
    "gemma3, windowed": Gemma3TextConfig(
        **SHAPE, sliding_window=16, layer_types=["sliding_attention", "full_attention"]
    ),
}
PROMPTS = ["Say something", "Write of bread, and of the people who bake it at night.", "Hm?"]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_writes_as_in_transformers(family: str, tmp_path: Path) -> None:
    base = load(write_base(tmp_path / "base", FAMILIES[family]), tmp_path)
    names = ["lora", "dora", "bottleneck", "prompt"]
    refs = [
        None,
        *(write_adapter(base.info, tmp_path / name, name, **METHODS[name]) for name in names),
    ]
    wanted = [reference(base.info, PROMPTS, ref) for ref in refs]
    engine = start_engine(base, EngineSettings(max_running=8, prefill_tokens=24))
    try:
        assert engine.state().figures["handwritten"] == 1
        jobs = [[engine.submit(ask(words, ref)) for words in PROMPTS] for ref in refs]
        assert [[job.result(60).completion.text for job in row] for row in jobs] == wanted
    finally:
        engine.stop()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning")  # PEFT mends it
def test_another_architecture_runs_through_transformers(tmp_path: Path) -> None:
    shape: dict[str, Any] = {
        "vocab_size": 260,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 512,
        "eos_token_id": 256,
        "bos_token_id": 256,
        "pad_token_id": 256,
        "initializer_range": 0.2,
    }
    base = load(write_base(tmp_path / "base", GPT2Config(**shape)), tmp_path)
    refs = [
        None,
        write_adapter(
            base.info, tmp_path / "lora", lora_r=4, target_modules=("c_attn", "c_proj", "c_fc")
        ),
    ]
    wanted = [reference(base.info, PROMPTS, ref) for ref in refs]
    engine = start_engine(base, EngineSettings(max_running=8))
    try:
        assert engine.state().figures["handwritten"] == 0
        jobs = [[engine.submit(ask(words, ref)) for words in PROMPTS] for ref in refs]
        assert [[job.result(60).completion.text for job in row] for row in jobs] == wanted
    finally:
        engine.stop()
