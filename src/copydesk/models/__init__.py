"""Language models: fetch, load, tune with a method, alone or many in a bank, pack, lose, save.

The only room that imports `peft` and `bitsandbytes`. Reads: bases in Hugging Face layout
(safetensors only; nothing is loaded by pickle, no code comes with a model). Writes: the cache of
bases, adapter folders in PEFT's format, or in our own for bottleneck adapters; kernels that it
compiled, into the user's cache. Does not know: clients, workspaces, where a text came from.

Shape letters in tensor names: T tokens of a packed batch, L positions that carry loss, P virtual
tokens, G tokens with virtual ones among them, D hidden width, V vocabulary, H heads, K width of a
head, R rank, S sum of ranks, I inner width of a gated MLP, O width of a layer's output, M width of
a bottleneck.
"""

from copydesk.models._activations import kept_bytes
from copydesk.models._adapter_weights import AdapterWeights, LowRank, Narrow, read_adapter
from copydesk.models._adapters import load_adapter, merge, merge_quantised
from copydesk.models._attention import ATTENTION, SegmentPrefix
from copydesk.models._bank import Bank
from copydesk.models._bases import BaseInfo, BaseStore
from copydesk.models._encode import encode_chat, encode_example, encode_examples, load_tokenizer
from copydesk.models._encoded import Encoded, EncodedSet
from copydesk.models._encoded_cache import EncodedCache
from copydesk.models._gguf import convert_to_gguf, find_converter
from copydesk.models._hollow import hollow_base, quantisation_tensors
from copydesk.models._load import Base, free_memory, head_chunk, load_base
from copydesk.models._loss import (
    ExampleLoss,
    Share,
    answer_losses,
    backward_loss,
    backward_losses,
)
from copydesk.models._method_settings import (
    BottleneckSettings,
    DoraSettings,
    FullSettings,
    LoraSettings,
    MethodSettings,
    PrefixSettings,
    PromptSettings,
    QloraSettings,
)
from copydesk.models._methods import METHODS, Method, can_share_starts, find_method
from copydesk.models._number_format import pick_device, pick_dtype
from copydesk.models._optimizers import allocate_state, eight_bit_adamw, eight_bit_bytes
from copydesk.models._overlong import Overlong
from copydesk.models._pack import Packed, pack, pack_families, split_by_tokens
from copydesk.models._quantise import Quantisation
from copydesk.models._servable import (
    adapter_faults,
    dead_weights,
    finite_logits,
    merge_difference,
    text_logits,
    weights_finite,
)
from copydesk.models._shared_start import (
    common_start,
    families_of,
    rows_of,
    shared_length,
    shares_starts,
)
from copydesk.models._side_by_side import (
    Batch,
    Lanes,
    backward_batches,
    backward_each,
    make_lanes,
    scoring_lanes,
    two_at_once,
)
from copydesk.models._states import prefix_states
from copydesk.models._template import template_digest
from copydesk.models._tuned import Tuned, untuned

__all__ = [
    "ATTENTION",
    "METHODS",
    "AdapterWeights",
    "Bank",
    "Base",
    "BaseInfo",
    "BaseStore",
    "Batch",
    "BottleneckSettings",
    "DoraSettings",
    "Encoded",
    "EncodedCache",
    "EncodedSet",
    "ExampleLoss",
    "FullSettings",
    "Lanes",
    "LoraSettings",
    "LowRank",
    "Method",
    "MethodSettings",
    "Narrow",
    "Overlong",
    "Packed",
    "PrefixSettings",
    "PromptSettings",
    "QloraSettings",
    "Quantisation",
    "SegmentPrefix",
    "Share",
    "Tuned",
    "adapter_faults",
    "allocate_state",
    "answer_losses",
    "backward_batches",
    "backward_each",
    "backward_loss",
    "backward_losses",
    "can_share_starts",
    "common_start",
    "convert_to_gguf",
    "dead_weights",
    "eight_bit_adamw",
    "eight_bit_bytes",
    "encode_chat",
    "encode_example",
    "encode_examples",
    "families_of",
    "find_converter",
    "find_method",
    "finite_logits",
    "free_memory",
    "head_chunk",
    "hollow_base",
    "kept_bytes",
    "load_adapter",
    "load_base",
    "load_tokenizer",
    "make_lanes",
    "merge",
    "merge_difference",
    "merge_quantised",
    "pack",
    "pack_families",
    "pick_device",
    "pick_dtype",
    "prefix_states",
    "quantisation_tensors",
    "read_adapter",
    "rows_of",
    "scoring_lanes",
    "shared_length",
    "shares_starts",
    "split_by_tokens",
    "template_digest",
    "text_logits",
    "two_at_once",
    "untuned",
    "weights_finite",
]
