"""Language models: fetch, load, tune with a method, pack examples, lose, save.

The only room that imports `peft`. Reads: bases in Hugging Face layout (safetensors only; nothing
is loaded by pickle, no code comes with a model). Writes: the cache of bases, adapter folders in
PEFT's format. Does not know: clients, workspaces, where a text came from.

Shape letters in tensor names: T tokens of a packed batch, L positions that carry loss,
D hidden width, V vocabulary, H heads, K width of a head, R rank.
"""

from copydesk.models._attention import ATTENTION
from copydesk.models._bases import BaseInfo, BaseStore, default_cache
from copydesk.models._encode import encode_chat, encode_example, encode_examples, load_tokenizer
from copydesk.models._encoded import Encoded, EncodedSet
from copydesk.models._encoded_cache import EncodedCache
from copydesk.models._load import Base, free_memory, load_base, pick_device, pick_dtype
from copydesk.models._loss import ExampleLoss, answer_losses, backward_loss
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
from copydesk.models._overlong import Overlong
from copydesk.models._pack import Packed, pack, split_by_tokens
from copydesk.models._template import template_digest

__all__ = [
    "ATTENTION",
    "METHODS",
    "Base",
    "BaseInfo",
    "BaseStore",
    "Encoded",
    "EncodedCache",
    "EncodedSet",
    "ExampleLoss",
    "FullSettings",
    "LoraSettings",
    "Method",
    "MethodSettings",
    "Overlong",
    "Packed",
    "Tuned",
    "answer_losses",
    "backward_loss",
    "default_cache",
    "encode_chat",
    "encode_example",
    "encode_examples",
    "find_method",
    "free_memory",
    "load_adapter",
    "load_base",
    "load_tokenizer",
    "merge",
    "pack",
    "pick_device",
    "pick_dtype",
    "split_by_tokens",
    "template_digest",
]
