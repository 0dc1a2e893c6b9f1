"""The compiled kernels of training: each is what torch computes, in float64 or by the family's own
module, rounded once or twice."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from conftest import FAMILIES, SHAPE, write_base
from references import disturb, some_examples, tiny
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from copydesk.models import ATTENTION, LoraSettings, backward_loss, find_method, pack
from copydesk.models import _kernels as kernels
from copydesk.models._causal import causal_attention
from copydesk.models._norms import use_lean_norms

pytestmark = pytest.mark.skipif(
    kernels.load_kernels() is None,
    reason="the kernels cannot be built here, or the processor lacks what they need",
)
ROUNDING = 2.0**-8
"""Of bfloat16 with its eight bits, at most; most of what is tested is rounded twice."""


def drawn(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator)).bfloat16()


def assert_near(found: torch.Tensor, expected: torch.Tensor, roundings: float) -> None:
    """Every number within so many roundings of its own size, or of the largest one's thousandth."""
    room = roundings * ROUNDING * expected.abs().clamp_min(expected.abs().max() * 1e-3)
    assert ((found.double() - expected).abs() <= room).all()


@pytest.mark.parametrize("width", [16, 17, 100, 576])
@pytest.mark.parametrize("make", [LlamaRMSNorm, Gemma2RMSNorm])
def test_norms_are_those_of_the_family(make: Callable[..., nn.Module], width: int) -> None:
    norm = make(width, eps=1e-5).bfloat16().requires_grad_(False)
    own: torch.Tensor = norm.weight  # pyright: ignore[reportAssignmentType]
    own.copy_(drawn(width, seed=1))
    x, gradient = drawn(2, 7, width, seed=2, scale=3), drawn(2, 7, width, seed=3)
    exact = make(width, eps=1e-5).double().requires_grad_(False)
    exact.load_state_dict({name: value.double() for name, value in norm.state_dict().items()})
    wide = x.double().requires_grad_()
    expected = exact(wide)
    (expected_gradient,) = torch.autograd.grad(expected, wide, gradient.double())
    usual = norm(x)
    holder = nn.ModuleDict({"norm": norm})
    use_lean_norms(holder)
    assert "forward" in vars(norm)
    narrow = x.clone().requires_grad_()
    found = norm(narrow)
    assert (found != usual).double().mean() < 0.01
    assert_near(found, expected.detach(), 2.1)
    (found_gradient,) = torch.autograd.grad(found, narrow, gradient)
    assert_near(found_gradient, expected_gradient, 2.1)


def test_norms_that_are_trained_or_of_another_kind_keep_their_forward() -> None:
    class OddRMSNorm(LlamaRMSNorm):
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(hidden_states)

    model = nn.ModuleDict({"odd": OddRMSNorm(32).bfloat16(), "wide": LlamaRMSNorm(32)})
    use_lean_norms(model)
    assert not any("forward" in vars(module) for module in model.values())
    trained = LlamaRMSNorm(32).bfloat16()
    use_lean_norms(nn.ModuleDict({"trained": trained}))
    trained(drawn(3, 32, seed=1)).sum().backward()
    assert trained.weight.grad is not None


@pytest.mark.parametrize("width", [16, 33, 1536])
@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        (kernels.SILU, functional.silu),
        (kernels.GELU_TANH, lambda x: functional.gelu(x, approximate="tanh")),
    ],
)
def test_gated_activations(
    kind: int, activation: Callable[[torch.Tensor], torch.Tensor], width: int
) -> None:
    gates, ups = drawn(5, width, seed=1, scale=6), drawn(5, width, seed=2)
    gradient = drawn(5, width, seed=3)
    wide = [one.double().requires_grad_() for one in (gates, ups)]
    expected = activation(wide[0]) * wide[1]
    of_gates, of_ups = torch.autograd.grad(expected, wide, gradient.double())
    assert_near(kernels.gate_rows(gates, ups, kind), expected.detach(), 2.1)
    grads = gradient.clone()
    found = kernels.gate_rows_backward(gates, ups, grads, kind)
    # Where the slope passes through zero, what is left is the rounding of the numbers around it.
    assert (found.double() - of_gates).norm() < 2 * ROUNDING * of_gates.norm()
    assert_near(grads, of_ups, 2.1)


@pytest.mark.parametrize("width", [16, 1000, 49_152])
@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
def test_losses(width: int, scale: float) -> None:
    logits = drawn(6, width, seed=1, scale=scale)
    targets = torch.tensor([0, 1, 5, width - 1, 3, 2])
    weights = torch.linspace(0.1, 1, 6)
    wide = logits.double().requires_grad_()
    expected = functional.cross_entropy(wide, targets, reduction="none")
    (expected_gradient,) = torch.autograd.grad(expected, wide, weights.double())
    found, sums = kernels.losses(logits, targets)
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-5, atol=1e-4 * scale)
    changed = logits.clone()
    kernels.losses_backward(changed, targets, sums, weights)
    assert (changed.double() - expected_gradient).norm() < ROUNDING * expected_gradient.norm()


def test_what_is_not_a_number_stays_in_its_row_and_shows() -> None:
    for spoilt in (float("nan"), float("inf")):
        logits, targets = drawn(3, 64, seed=1), torch.tensor([1, 2, 3])
        clean, _ = kernels.losses(logits, targets)
        logits[1, 40] = spoilt
        hurt, _ = kernels.losses(logits, targets)
        assert torch.equal(hurt[[0, 2]], clean[[0, 2]]) and not hurt[1].isfinite()
        rows = drawn(3, 64, seed=2)
        rows[1, 5] = spoilt
        ones, ups = torch.ones(64, dtype=torch.bfloat16), drawn(3, 64, seed=3)
        for found in (
            kernels.norm_rows(rows, ones, False, 1e-5)[0],
            kernels.gate_rows(rows, ups, kernels.SILU),
        ):
            assert found[[0, 2]].isfinite().all() and not found[1].isfinite().all()


def test_results_do_not_depend_on_threads() -> None:
    gates, ups, ones = drawn(50, 96, seed=1), drawn(50, 96, seed=2), torch.ones(96).bfloat16()

    def found() -> list[torch.Tensor]:
        normed, scales = kernels.norm_rows(gates, ones, False, 1e-5)
        targets = torch.zeros(50, dtype=torch.long)
        return [
            normed,
            kernels.norm_rows_backward(gates, ones, False, scales, ups),
            kernels.gate_rows(gates, ups, kernels.SILU),
            *kernels.losses(gates, targets),
        ]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = found()
        torch.set_num_threads(3)
        assert all(map(torch.equal, found(), alone))
    finally:
        torch.set_num_threads(threads)


def test_tensors_without_numbers_have_the_same_shapes() -> None:
    """What is planned is what is run: each operator allocates alike on the meta device."""
    x, weight, targets = drawn(6, 64, seed=1), drawn(64, seed=2), torch.zeros(6, dtype=torch.long)
    query, key = drawn(4, 6, 64, seed=3), drawn(2, 6, 64, seed=4)
    out, sums = kernels.attend(query, key, key, [2, 4], [-1, 0], 0.125)
    for function, *given in (
        (kernels.norm_rows, x, weight, False, 1e-5),
        (kernels.norm_rows_backward, x, weight, False, torch.ones(6), x),
        (kernels.gate_rows, x, x, kernels.SILU),
        (kernels.gate_rows_backward, x, x, x.clone(), kernels.SILU),
        (kernels.losses, x, targets),
        (kernels.attend, query, key, key, [2, 4], [-1, 0], 0.125),
        (kernels.attend_backward, query, key, key, out, sums, out, [2, 4], [-1, 0], 0.125),
    ):
        hollow = [one.to("meta") if isinstance(one, torch.Tensor) else one for one in given]
        real, planned = function(*given), function(*hollow)
        pairs = zip(
            real if isinstance(real, tuple) else (real,),
            planned if isinstance(planned, tuple) else (planned,),
            strict=True,
        )
        for one, other in pairs:
            assert (one.shape, one.dtype, one.stride()) == (
                other.shape,
                other.dtype,
                other.stride(),
            )


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
def test_a_tuned_base_is_as_near_to_float32_with_the_kernels_as_without(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {**SHAPE, "hidden_size": 128, "head_dim": 64, "num_attention_heads": 4}
    config = FAMILIES[family](**shape, tie_word_embeddings=True)
    folder = write_base(tmp_path / "base", config)
    called: set[str] = set()

    def gradients(dtype: torch.dtype) -> tuple[float, dict[str, torch.Tensor]]:
        base = tiny(folder, attention=ATTENTION, dtype=dtype)
        tuned = find_method("lora").prepare(base, LoraSettings(lora_r=4), 3)
        disturb(tuned)
        examples = some_examples(base, 4)
        batch = pack(examples)
        assert batch.rows % 16, "nothing would be filled up"
        with TorchDispatchRecorder(called):
            loss = backward_loss(tuned, batch, divisor=100)
        grads = {
            name: one.grad.double()
            for name, one in tuned.parameters.items()
            if one.grad is not None
        }
        return loss, grads

    exact_loss, exact = gradients(torch.float32)
    assert not called
    compiled_loss, compiled = gradients(torch.bfloat16)
    wanted = {"norm_rows_backward", "gate_rows_backward"}
    if family != "gemma2":  # which caps scores and logits
        wanted |= {"attend_backward", "losses_backward"}
    assert wanted <= called
    monkeypatch.setattr(kernels, "load_kernels", lambda: None)
    called.clear()
    plain_loss, plain = gradients(torch.bfloat16)
    assert not called

    def error(found: dict[str, torch.Tensor]) -> float:
        squares = sum(float((found[name] - exact[name]).square().sum()) for name in exact)
        return (squares / sum(float(one.square().sum()) for one in exact.values())) ** 0.5

    assert compiled.keys() == plain.keys() == exact.keys()
    assert error(compiled) < 1.1 * error(plain)
    assert abs(compiled_loss - exact_loss) < max(
        2 * abs(plain_loss - exact_loss), 1e-3 * exact_loss
    )


class TorchDispatchRecorder(TorchDispatchMode):
    """Writes down which of our operators are called."""

    def __init__(self, called: set[str]) -> None:
        super().__init__()
        self._called = called

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        library, _, name = str(func).partition(".")
        if library == "copydesk":
            self._called.add(name.partition(".")[0])
        return func(*args, **(kwargs or {}))


def test_threads_that_end_give_their_memory_back() -> None:
    """Every training step attends on new threads."""
    query = torch.randn(2, 300, 64).bfloat16().requires_grad_()
    key = torch.randn(1, 300, 64).bfloat16().requires_grad_()

    def attend() -> None:
        out = causal_attention(query, key, key, [300], 0.125)
        torch.autograd.grad(out.sum(), (query, key))

    def threads(count: int) -> int:
        for _ in range(count):
            one = threading.Thread(target=attend)
            one.start()
            one.join()
        return psutil.Process().memory_info().rss

    before = threads(50)
    assert threads(300) - before < 30e6  # half a megabyte each, were it kept
