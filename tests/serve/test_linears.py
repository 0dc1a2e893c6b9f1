"""Weights in other layouts and in fewer bits give the products they should."""

import pytest
import torch
from torch.nn import functional

from copydesk.errors import InvalidInput
from copydesk.serve._linears import (
    Int4Linear,
    Int8Linear,
    PackedLinear,
    PlainLinear,
    hold,
    packs_bfloat16,
)

needs_bfloat16 = pytest.mark.skipif(not packs_bfloat16(), reason="no bfloat16 on this processor")


def _case(
    rows: int, inputs: int = 192, outputs: int = 320, dtype: torch.dtype = torch.bfloat16
) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, inputs, generator=source).to(dtype)
    return x, (torch.randn(outputs, inputs, generator=source) * 0.05).to(dtype)


@needs_bfloat16
def test_a_packed_row_is_the_same_bits_whatever_is_multiplied_with_it() -> None:
    x, weight = _case(40)
    linear = PackedLinear(weight)
    whole = linear(x)
    for start, end in ((0, 1), (3, 5), (7, 15), (0, 16), (8, 40)):
        assert torch.equal(linear(x[start:end].contiguous()), whole[start:end])
    exact = x.double() @ weight.double().T
    assert (whole.double() - exact).abs().max() < 0.01 * exact.abs().max()


@needs_bfloat16
def test_packed_products_take_a_sum_along() -> None:
    x, weight = _case(5)
    linear = PackedLinear(weight)
    other = torch.randn(5, 320).bfloat16()
    exact = x.double() @ weight.double().T
    expected = exact + other.double()
    assert (linear.add(x, other).double() - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "limit"), [(Int8Linear, 0.02), (Int4Linear, 0.15)])
def test_fewer_bits_are_near_and_many_rows_give_what_few_give(
    kind: type[Int8Linear] | type[Int4Linear], limit: float, dtype: torch.dtype
) -> None:
    x, weight = _case(48, dtype=dtype)
    linear = kind(weight)
    exact = x.double() @ weight.double().T
    many = linear(x)
    few = torch.cat([linear(x[at : at + 1]) for at in range(48)])
    assert (many.double() - exact).norm() < limit * exact.norm()
    assert (many.double() - few.double()).norm() < 0.01 * exact.norm()
    assert torch.equal(linear.add(x, many), linear(x) + many)


def test_weights_that_were_in_four_bits_lose_nothing() -> None:
    """As of the default base, which comes from a file of that kind."""
    source = torch.Generator().manual_seed(1)
    quants = torch.randint(0, 16, (64, 3, 32), generator=source).float()
    quants[..., 0], quants[..., 1] = 0, 15
    scale = torch.rand(64, 3, 1, generator=source).bfloat16().float() * 0.25
    weight = (quants * scale.bfloat16().float() - 8 * scale.bfloat16().float()).flatten(1)
    x = torch.randn(4, 96, generator=source)
    found = Int4Linear(weight)(x)
    assert (found - x @ weight.T).abs().max() < 1e-4


def test_a_layer_that_does_not_fit_the_groups_is_refused() -> None:
    with pytest.raises(InvalidInput, match="320 x 200"):
        hold(torch.zeros(320, 200), "int4")
    assert isinstance(hold(torch.zeros(320, 200), None), PlainLinear)


def test_plain_products_are_torchs() -> None:
    x, weight = _case(3, dtype=torch.float32)
    assert torch.equal(PlainLinear(weight)(x), functional.linear(x, weight))
