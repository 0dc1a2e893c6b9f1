"""Language models: fetch, load, tune with a method, pack examples, lose, save.

The only room that imports `peft` or `bitsandbytes`. Reads: bases in Hugging Face layout
(safetensors only; nothing is loaded by pickle, no code comes with a model). Writes: the cache of
bases, adapter folders in PEFT's format. Does not know: clients, workspaces, where a text came from.

Shape letters in tensor names: T tokens of a packed batch, L positions that carry loss,
D hidden width, V vocabulary, H heads, K width of a head, R rank.
"""

from copydesk.models._attention import ATTENTION
from copydesk.models._bases import BaseInfo, BaseStore, default_cache
from copydesk.models._encode import Encoded, encode_chat, encode_example, template_digest
from copydesk.models._load import Base, free_memory, load_base, pick_device, pick_dtype
from copydesk.models._loss import CHUNK, ExampleLoss, answer_losses, backward_loss, kept_bytes
from copydesk.models._methods import (
    METHODS,
    FullSettings,
    LoraSettings,
    Method,
    MethodSettings,
    Tuned,
    find_method,
    load_adapter,
    merge,
)
from copydesk.models._optimizers import allocate_state, eight_bit_adamw, eight_bit_bytes
from copydesk.models._pack import Packed, pack, split_by_tokens

__all__ = [
    "ATTENTION",
    "CHUNK",
    "METHODS",
    "Base",
    "BaseInfo",
    "BaseStore",
    "Encoded",
    "ExampleLoss",
    "FullSettings",
    "LoraSettings",
    "Method",
    "MethodSettings",
    "Packed",
    "Tuned",
    "allocate_state",
    "answer_losses",
    "backward_loss",
    "default_cache",
    "eight_bit_adamw",
    "eight_bit_bytes",
    "encode_chat",
    "encode_example",
    "find_method",
    "free_memory",
    "kept_bytes",
    "load_adapter",
    "load_base",
    "merge",
    "pack",
    "pick_device",
    "pick_dtype",
    "split_by_tokens",
    "template_digest",
]
