"""Attention in blocks: PyTorch's own, example by example."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from copydesk.models._causal import causal_attention

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def made(heads: tuple[int, int], sizes: tuple[int, int], lengths: list[int], seed: int) -> Tensors:
    """Queries, keys and values in the strides that a model gives them: heads innermost."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((heads[0], sizes[0]), (heads[1], sizes[0]), (heads[1], sizes[1]))
    query, key, value = (
        torch.randn(sum(lengths), count, size, generator=generator, dtype=torch.float32)
        .transpose(0, 1)
        .requires_grad_()
        for count, size in shapes
    )
    return query, key, value


def reference(tensors: Tensors, lengths: list[int], scale: float) -> torch.Tensor:
    """[T, H, K]."""
    parts = [
        functional.scaled_dot_product_attention(
            *(tensor[None] for tensor in part), is_causal=True, scale=scale, enable_gqa=True
        )[0]
        for part in zip(*(tensor.split(lengths, 1) for tensor in tensors), strict=True)
    ]
    return torch.cat(parts, 1).transpose(0, 1)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=4),
    st.sampled_from([(1, 1), (4, 4), (6, 2), (9, 3)]),
    st.sampled_from([(8, 8), (16, 12), (64, 64)]),
    st.integers(0, 1000),
)
def test_outputs_and_gradients_are_those_of_pytorch(
    lengths: list[int], heads: tuple[int, int], sizes: tuple[int, int], seed: int
) -> None:
    tensors = made(heads, sizes, lengths, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    expected = reference(tensors, lengths, 0.3)
    gradient = torch.randn(expected.shape, generator=generator)
    expected_gradients = torch.autograd.grad(expected, tensors, gradient)
    actual = causal_attention(*tensors, lengths, 0.3)
    actual_gradients = torch.autograd.grad(actual, tensors, gradient)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    for left, right in zip(actual_gradients, expected_gradients, strict=True):
        assert (left - right).norm() <= 1e-5 * max(right.norm(), gradient.norm())


def test_bfloat16_is_as_near_to_float32_as_pytorchs_own_kernel() -> None:
    lengths = [150, 33]
    tensors = made((6, 2), (64, 64), lengths, 3)
    exact = reference(tensors, lengths, 0.125)
    gradient = torch.randn(exact.shape, generator=torch.Generator().manual_seed(4))
    wanted = [exact.detach(), *torch.autograd.grad(exact, tensors, gradient)]

    def errors(found: torch.Tensor, inputs: Tensors) -> list[float]:
        rounded = [found.detach(), *torch.autograd.grad(found, inputs, gradient.bfloat16())]
        return [
            float((left.float() - right).norm() / right.norm())
            for left, right in zip(rounded, wanted, strict=True)
        ]

    small: Tensors = tuple(tensor.detach().bfloat16().requires_grad_() for tensor in tensors)  # pyright: ignore
    ours = errors(causal_attention(*small, lengths, 0.125), small)
    theirs = errors(reference(small, lengths, 0.125), small)
    for mine, its in zip(ours, theirs, strict=True):
        assert mine < its * 1.2


def test_an_example_with_nan_spoils_no_other() -> None:
    lengths = [70, 5, 90]
    tensors = made((4, 2), (16, 16), lengths, 5)
    clean = causal_attention(*tensors, lengths, 0.25)
    spoilt: Tensors = tuple(tensor.detach().clone() for tensor in tensors)  # pyright: ignore
    for tensor in spoilt:
        tensor[:, 70:75] = float("nan")
        tensor.requires_grad_()
    hurt = causal_attention(*spoilt, lengths, 0.25)
    kept = torch.cat([torch.arange(70), torch.arange(75, 165)])
    assert torch.equal(hurt[kept], clean[kept])
    gradients = torch.autograd.grad(hurt.sum(), spoilt)
    expected = torch.autograd.grad(clean.sum(), tensors)
    for left, right in zip(gradients, expected, strict=True):
        assert torch.equal(left[:, kept], right[:, kept])
        assert left[:, 70:75].isnan().any()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128])
def test_a_block_ends_where_it_may(length: int) -> None:
    tensors = made((2, 1), (8, 8), [length], length)
    torch.testing.assert_close(
        causal_attention(*tensors, [length], 0.5),
        reference(tensors, [length], 0.5),
        rtol=1e-5,
        atol=1e-6,
    )
