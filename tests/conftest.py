"""Fixtures: tiny random bases with a byte-level tokenizer, made here, and the real base."""

import contextlib
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from training import Children, children
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Lfm2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
SHAPE = {
    "vocab_size": 260,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": 256,
    "initializer_range": 0.2,
}
FAMILIES: dict[str, type[PretrainedConfig]] = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "gemma2": Gemma2Config,
}


CONVOLUTION = Lfm2Config(
    vocab_size=260,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    layer_types=["conv", "full_attention"],
    initializer_range=0.2,
    eos_token_id=256,
    pad_token_id=256,
)
"""LFM2 takes the registered attention, but its convolutions run across examples."""


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and four special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    fast.chat_template = TEMPLATE
    return fast


def write_base(folder: Path, config: PretrainedConfig) -> Path:
    """A base of this shape with random weights and the byte tokenizer, in the ordinary layout."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # they start at zero, which would hide that they are left out
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def write_tiny_base(folder: Path, family: str = "llama", *, tied: bool = True) -> Path:
    """A random two-layer base of a family."""
    return write_base(folder, FAMILIES[family](**SHAPE, tie_word_embeddings=tied))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama-style base."""
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def forker() -> Iterator[Children]:
    """Starts training runs that are killed or squeezed."""
    with children() as started:
        yield started


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """The sample brands that ship with the project."""
    return Path(__file__).parent.parent / "src" / "copydesk" / "samples"


@pytest.fixture(scope="session")
def brands() -> Path:
    """Real public texts beside the project; tests that need them skip where they are not."""
    folder = Path(__file__).parent.parent.parent / "shared" / "brands"
    if not folder.is_dir():
        pytest.skip("needs the real brands' texts beside the project")
    return folder


@contextlib.contextmanager
def disk_of(size: str, folder: Path) -> Generator[Path]:
    """A file system of a size, where this user may mount one."""
    folder.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if made.returncode:
        pytest.skip("may not mount a file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
