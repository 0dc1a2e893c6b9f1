"""What a forward and backward pass of the loop would hold and do, counted without doing it.

The real loss runs over a hollow base, whose tensors have shapes and no numbers. Every operation
passes through a ledger that knows which tensors are alive and how large the product was. So the
figures follow the loop itself: any architecture, any method, the lean LoRA layers, packed attention
and the chunks of logits, without a formula that would have to be kept true beside the code.

Deep models are traced at two small depths. What one layer adds is the same for every layer, so that
the rest follows on a straight line.
"""

import contextlib
import copy
import warnings
import weakref
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig

from copydesk.models import (
    Encoded,
    MethodSettings,
    Tuned,
    backward_loss,
    find_method,
    hollow_base,
    pack_families,
    quantisation_tensors,
)

DEPTHS = (4, 8)
"""Layers of the two traces of a model that is deeper. Four cover the first dense layers of a
mixture of experts, and patterns of two or four kinds of layers."""
META = torch.device("meta")
_GROUPED = {"grouped_mm", "_grouped_mm"}
_FLASH_BACKWARD = 2.5
"""Products of attention's backward pass over its forward's: it computes the scores again (Dao et
al. 2022)."""


class Operation(NamedTuple):
    """Cost of one call."""

    flops: int
    """Of matrix products: two for each multiplication. 0 for what only moves memory."""
    bytes: int
    """Read and written."""
    dtype: str


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that are alive at a moment, beside the weights."""

    activations: float = 0
    logits: float = 0
    gradients: float = 0

    @property
    def total(self) -> float:
        """Their sum."""
        return self.activations + self.logits + self.gradients

    def along(self, deeper: "Held", share: float) -> "Held":
        """On the straight line through this and `deeper`, whose place is 1; this one's is 0."""
        return Held(
            **{
                item.name: max(
                    0.0,
                    getattr(self, item.name)
                    + share * (getattr(deeper, item.name) - getattr(self, item.name)),
                )
                for item in fields(Held)
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Of one micro-batch, or of the second of two where a step has several."""

    peak: Held
    work: Mapping[Operation, float]
    """Operation -> how often it is done in one micro-batch."""
    tokens: int
    trained: Mapping[tuple[int, ...], int]
    """Shape -> how many tensors of it are trained."""


def trace_micro(
    config: PretrainedConfig,
    method: str,
    own: MethodSettings,
    *,
    dtype: torch.dtype,
    lengths: Sequence[int],
    answer_share: float,
    accumulates: bool,
    start: int = 0,
    on_cpu: bool = True,
) -> Trace:
    """Count one micro-batch's forward and backward pass.

    Args:
        config: of the architecture, at its full depth.
        method: a method's name.
        own: its settings.
        dtype: of the base's weights.
        lengths: tokens of each example that is packed.
        answer_share: part of an example's tokens that carries loss.
        accumulates: an earlier micro-batch of the same step has left its gradients.
        start: tokens that the examples have in common, and that are run once.
        on_cpu: attention is ours for CPUs; otherwise PyTorch's fused kernel.

    Raises:
        InvalidInput: transformers cannot build it, or the method does not fit it.
    """
    layers = int(config.get_text_config().num_hidden_layers)
    examples = [
        _example(number, length, answer_share, start) for number, length in enumerate(lengths)
    ]
    if layers <= DEPTHS[1]:
        ledger = _run(config, method, own, dtype, examples, accumulates, on_cpu)
        peak = max(ledger.peaks, key=lambda held: held.total)
        return Trace(
            peak=peak, work=dict(ledger.work), tokens=sum(lengths), trained=dict(ledger.trained)
        )
    shallow, deep = (
        _run(_with_depth(config, depth), method, own, dtype, examples, accumulates, on_cpu)
        for depth in DEPTHS
    )
    share = (layers - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])
    peaks = [
        first.along(second, share) for first, second in zip(shallow.peaks, deep.peaks, strict=True)
    ]
    work = {
        operation: shallow.work[operation] + share * (count - shallow.work[operation])
        for operation, count in deep.work.items()
    }
    return Trace(
        peak=max(peaks, key=lambda held: held.total),
        work=work,
        tokens=sum(lengths),
        trained=_deeper(shallow.trained, deep.trained, layers),
    )


def trained_shapes(
    config: PretrainedConfig, method: str, own: MethodSettings
) -> Mapping[tuple[int, ...], int]:
    """Shape -> how many tensors of it a method trains: read off the method itself, as put on the
    architecture without numbers.

    Raises:
        InvalidInput: transformers cannot build it, or the method does not fit it.
    """
    layers = int(config.get_text_config().num_hidden_layers)

    def at(depth: int) -> Counter[tuple[int, ...]]:
        tuned = _prepared(_with_depth(config, depth), method, own, torch.bfloat16)
        return _shapes(tuned)

    if layers <= DEPTHS[1]:
        return at(layers)
    return _deeper(at(DEPTHS[0]), at(DEPTHS[1]), layers)


def _deeper(
    shallow: Counter[tuple[int, ...]], deep: Counter[tuple[int, ...]], layers: int
) -> dict[tuple[int, ...], int]:
    """Counts at a depth, from those at `DEPTHS`. A tensor that spans all layers, as a prefix,
    grows in its last side instead."""
    more = layers - DEPTHS[0]
    between = DEPTHS[1] - DEPTHS[0]
    found: dict[tuple[int, ...], int] = {}
    for shape in sorted(shallow.keys() | deep.keys()):
        if shallow[shape] and deep[shape]:
            per = (deep[shape] - shallow[shape]) // between
            found[shape] = shallow[shape] + per * more
    old = sorted((shallow - deep).elements())
    new = sorted((deep - shallow).elements()) if old else []
    gone = [shape for shape in old if not deep[shape]]
    come = [shape for shape in new if not shallow[shape]]
    for before, after in zip(gone, come, strict=True):
        grown = tuple(a + (b - a) // between * more for a, b in zip(before, after, strict=True))
        found[grown] = found.get(grown, 0) + 1
    return found


def _shapes(tuned: Tuned) -> Counter[tuple[int, ...]]:
    return Counter(tuple(parameter.shape) for parameter in tuned.parameters.values())


def _example(number: int, length: int, answer_share: float, start: int) -> Encoded:
    """One that has just its first `start` tokens in common with those of other numbers."""
    prompt = min(length - 1, max(1, start + 1, round(length * (1 - answer_share))))
    ids = (0,) * start + (number,) * (length - start)
    return Encoded(id="traced", ids=ids, prompt_length=prompt)


def _with_depth(config: PretrainedConfig, depth: int) -> PretrainedConfig:
    """The same architecture with fewer layers; lists of one entry a layer are cut."""
    cut: Any = copy.deepcopy(config)
    text = cut.get_text_config()
    layers = text.num_hidden_layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == layers:
            setattr(text, name, value[:depth])
    text.num_hidden_layers = depth
    return cut


def _run(
    config: PretrainedConfig,
    method: str,
    own: Any,
    dtype: torch.dtype,
    examples: Sequence[Encoded],
    accumulates: bool,
    on_cpu: bool,
) -> "_Ledger":
    tuned = _prepared(config, method, own, dtype, on_cpu)
    head: Any = tuned.model.get_output_embeddings()
    tuned.model.train()
    ledger = _Ledger(int(head.weight.shape[0]), tuned.base.head_chunk)
    ledger.watch(tuned)
    packed = pack_families([examples]).to(META)
    ledger.trained = _shapes(tuned)
    divisor = sum(example.answer_length for example in examples)
    with ledger, _Kernels(), _autocast_knows_meta():
        for _ in range(1 + accumulates):
            ledger.start_pass()
            backward_loss(tuned, packed, divisor=divisor)
    ledger.close()
    return ledger


def _prepared(
    config: PretrainedConfig, method: str, own: Any, dtype: torch.dtype, on_cpu: bool = True
) -> Tuned:
    """The method on the architecture without numbers."""
    found = find_method(method)
    changes: dict[str, Any] = {}
    if hasattr(own, "lora_dropout"):
        changes["lora_dropout"] = 0.0  # its masks are drawn by a generator, which meta has not
    if hasattr(own, "init_lora_weights"):
        changes["init_lora_weights"] = "default"  # a decomposition needs numbers
    own = replace(own, **changes)
    with _Ledger(0, 0), _Kernels():
        base = hollow_base(
            config,
            config.model_type,
            dtype=dtype,
            quantisation=found.quantisation(own),
            on_cpu=on_cpu,
        )
        with warnings.catch_warnings():
            # PEFT 0.21 says of experts that its own rank pattern matches nothing, and follows it.
            warnings.simplefilter("ignore", RuntimeWarning)
            return found.prepare(base, own, 0)


class _Kernels(TorchFunctionMode):
    """The kernels that a device would take, where meta takes others or has none.

    Attention is the fused one. Products grouped by expert are one product of all rows: as many
    operations, and as much memory.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention and args[0].device == META:
            mask = kwargs.get("attn_mask")
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *args[:3],
                0.0,
                kwargs.get("is_causal", False),
                attn_mask=None if mask is None else mask.to(args[0].dtype),
                scale=kwargs.get("scale"),
            )[0]
        if getattr(func, "__name__", "") in _GROUPED and args[0].device == META:
            return args[0] @ args[1][0]
        return func(*args, **kwargs)


@contextlib.contextmanager
def _autocast_knows_meta() -> Generator[None]:
    """Let PEFT switch autocast off for the meta device, which `torch.autocast` refuses to know.

    It does so where it folds an adapter into the stacked weights of experts.
    """
    real: Any = torch.autocast

    def autocast(device_type: str, *args: Any, **options: Any) -> Any:
        if device_type == "meta":
            return contextlib.nullcontext()
        return real(device_type, *args, **options)

    torch.autocast = autocast  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.autocast = real


class _Ledger(TorchDispatchMode):
    """Keeps the sizes of living meta tensors, and the cost of every operation."""

    def __init__(self, rows: int, chunk: int) -> None:
        super().__init__()
        self.peaks: list[Held] = []
        self.trained: Counter[tuple[int, ...]] = Counter()
        self.work: Counter[Operation] = Counter()
        self._rows = rows
        self._chunk = chunk
        self._sizes: dict[int, tuple[int, bool]] = {}
        self._live = 0
        self._logits = 0
        self._gradients = 0
        self._hooks: list[Any] = []

    def watch(self, tuned: Tuned) -> None:
        """Leave the weights out of the count, and be told of their gradients."""
        root: Any = tuned.peft or tuned.model
        for tensor in (*root.parameters(), *root.buffers(), *quantisation_tensors(tuned.model)):
            self._sizes[id(tensor.untyped_storage())] = (0, False)
        for parameter in tuned.parameters.values():
            self._hooks.append(parameter.register_post_accumulate_grad_hook(self._has_gradient))
        self._counted: set[int] = set()

    def start_pass(self) -> None:
        """Peaks and work are of the pass that begins now: forward, then backward."""
        self.peaks = [Held(), Held()]
        self.work.clear()
        self._backward = False

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _has_gradient(self, parameter: torch.Tensor) -> None:
        self._backward = True
        if id(parameter) not in self._counted and parameter.grad is not None:
            self._counted.add(id(parameter))
            self._gradients += parameter.grad.untyped_storage().nbytes()

    def _freed(self, key: int) -> None:
        size, is_logits = self._sizes.pop(key)
        self._live -= size
        self._logits -= size if is_logits else 0

    def _hold(self, tensor: torch.Tensor) -> bool:
        """Count a tensor's storage where it is new; says whether it is."""
        storage = tensor.untyped_storage()
        key = id(storage)  # torch keeps one object for each storage while that lives
        if tensor.device != META or key in self._sizes:
            return False
        size = storage.nbytes()
        is_logits = (
            tensor.dim() == 2 and tensor.shape[1] == self._rows and len(tensor) <= self._chunk
        )
        self._sizes[key] = (size, is_logits)
        weakref.finalize(storage, self._freed, key).atexit = False
        self._live += size
        self._logits += size if is_logits else 0
        return True

    def _see(self, beside: int = 0) -> None:
        if not self.peaks:
            return
        place = int(self._backward)
        if self._live + beside > self.peaks[place].total:
            gradients = min(self._gradients, self._live)
            logits = min(self._logits, self._live - gradients)
            rest = self._live + beside - gradients - logits
            self.peaks[place] = Held(activations=rest, logits=logits, gradients=gradients)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        if name == "aten.allclose.default":  # LoRA's lean layers ask whether an MLP is a gated one
            return True
        if name == "aten._local_scalar_dense.default" and args[0].device == META:
            return 0
        if name == "aten._to_copy.default" and kwargs.get("device") == torch.device("cpu"):
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        out = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        new = [self._hold(leaf) for leaf in outputs]
        flops, hidden = _products(name, args, outputs)
        if any(new) or flops or name.endswith("_.default"):
            inputs = [
                leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
            ]
            moved = sum(t.numel() * t.element_size() for t in (*inputs, *outputs))
            dtype = str(outputs[0].dtype).removeprefix("torch.") if outputs else "float32"
            self.work[Operation(flops, moved + 2 * hidden, dtype)] += 1
        self._see(hidden)
        return out


def _products(name: str, args: Any, outputs: Sequence[torch.Tensor]) -> tuple[int, int]:
    """Floating-point operations of a call, and bytes that its kernel takes for itself."""
    operation = name.rpartition(".")[0]
    match operation:
        case "aten.mm" | "aten.bmm":
            return 2 * outputs[0].numel() * args[0].shape[-1], 0
        case "aten.addmm" | "aten.addmm_" | "aten.baddbmm":
            return 2 * outputs[0].numel() * args[1].shape[-1], 0
        case "bitsandbytes.gemm_4bit":
            width = args[0].shape[-1]
            rows = int(args[2][0])
            return 2 * outputs[0].numel() * width, rows * width * args[0].element_size()
        case "aten._scaled_dot_product_flash_attention_for_cpu":
            causal = args[4] if len(args) > 4 else False
            return _attention_flops(args[0], args[1], causal), 0
        case "aten._scaled_dot_product_flash_attention_for_cpu_backward":
            causal = args[7] if len(args) > 7 else False
            return round(_FLASH_BACKWARD * _attention_flops(args[1], args[2], causal)), 0
        case "copydesk.attend":
            return _packed_flops(args[0], *args[3:5]), 0
        case "copydesk.attend_backward":
            return round(_FLASH_BACKWARD * _packed_flops(args[0], *args[6:8])), 0
        case _:
            return 0, 0


def _packed_flops(query_HTK: torch.Tensor, lengths: Sequence[int], parents: Sequence[int]) -> int:
    """The same of segments laid end to end, each causal and behind its parent."""
    heads, _, width = query_HTK.shape
    seen = sum(
        length * (length + 2 * (lengths[parent] if parent >= 0 else 0))
        for length, parent in zip(lengths, parents, strict=True)
    )
    return 2 * heads * width * seen


def _attention_flops(query: torch.Tensor, key: torch.Tensor, causal: bool) -> int:
    """Two products of [T, K] and [T, K]; a causal kernel skips what lies in the future."""
    return 4 * query.numel() * key.shape[-2] // (2 if causal else 1)
