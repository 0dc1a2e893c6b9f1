"""Attention in blocks: PyTorch's own, example by example."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from copydesk.models import _kernels
from copydesk.models._causal import causal_attention
from copydesk.models._kernels import load_kernels

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


def reference(
    tensors: Tensors, lengths: list[int], scale: float, parents: list[int] | None = None
) -> torch.Tensor:
    """[T, H, K]: of each segment by a mask that lets it see its parent's rows and, causally, its
    own."""
    queries, keys, values = (tensor.split(lengths, 1) for tensor in tensors)
    parts: list[torch.Tensor] = []
    for number, parent in enumerate(parents or [-1] * len(lengths)):
        seen = [number] if parent < 0 else [parent, number]
        key, value = (torch.cat([side[one] for one in seen], 1) for side in (keys, values))
        length, before = lengths[number], key.shape[1] - lengths[number]
        mask = torch.ones(length, key.shape[1], dtype=torch.bool).tril(before)
        parts.append(
            functional.scaled_dot_product_attention(
                queries[number][None],
                key[None],
                value[None],
                attn_mask=mask,
                scale=scale,
                enable_gqa=True,
            )[0]
        )
    return torch.cat(parts, 1).transpose(0, 1)


@st.composite
def segments(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Lengths and parents: families, each with a start of its own or none."""
    lengths: list[int] = []
    parents: list[int] = []
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, 90))
        first = len(lengths) if start else -1
        lengths += [start] * (start > 0)
        parents += [-1] * (start > 0)
        for length in draw(st.lists(st.integers(1, 120), min_size=1, max_size=3)):
            lengths.append(length)
            parents.append(first)
    return lengths, parents


@settings(max_examples=25, deadline=None)
@given(
    segments(),
    st.sampled_from([(1, 1), (4, 4), (6, 2), (9, 3)]),
    st.sampled_from([(8, 8), (16, 12), (64, 64)]),
    st.integers(0, 1000),
)
def test_outputs_and_gradients_are_those_of_pytorch(
    laid: tuple[list[int], list[int]], heads: tuple[int, int], sizes: tuple[int, int], seed: int
) -> None:
    lengths, parents = laid
    tensors = made(heads, sizes, lengths, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    expected = reference(tensors, lengths, 0.3, parents)
    gradient = torch.randn(expected.shape, generator=generator)
    expected_gradients = torch.autograd.grad(expected, tensors, gradient)
    actual = causal_attention(*tensors, lengths, 0.3, parents)
    actual_gradients = torch.autograd.grad(actual, tensors, gradient)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    for left, right in zip(actual_gradients, expected_gradients, strict=True):
        assert (left - right).norm() <= 1e-5 * max(right.norm(), gradient.norm())


KERNELS = pytest.mark.parametrize("compiled", [False, True], indirect=True)


@pytest.fixture(name="compiled")
def _compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiled kernels or without."""
    if not request.param:
        monkeypatch.setattr(_kernels, "load_kernels", lambda: None)
    elif load_kernels() is None:
        pytest.skip("the kernels cannot be built here, or the processor lacks what they need")


@pytest.mark.usefixtures("compiled")
@KERNELS
@pytest.mark.parametrize(
    ("heads", "size", "lengths", "parents"),
    [
        ((6, 2), 64, [150, 33], None),
        ((3, 1), 64, [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65], None),
        ((2, 2), 128, [255, 257, 300], None),
        ((4, 1), 256, [40, 90], None),
        ((1, 1), 64, [700], None),
        ((6, 2), 64, [26, 90, 70, 81], [-1, 0, 0, 0]),
        ((3, 1), 64, [1, 1, 2, 33, 15, 16, 17, 301, 31, 40], [-1, 0, 0, -1, 3, 3, -1, -1, 7, -1]),
        ((2, 2), 128, [255, 5, 257, 300], [-1, 0, 0, -1]),
    ],
)
def test_bfloat16_is_as_near_to_float32_as_pytorchs_own_kernel(
    heads: tuple[int, int], size: int, lengths: list[int], parents: list[int] | None
) -> None:
    tensors = made(heads, (size, size), lengths, 3)
    exact = reference(tensors, lengths, 0.125, parents)
    gradient = torch.randn(exact.shape, generator=torch.Generator().manual_seed(4))
    wanted = [exact.detach(), *torch.autograd.grad(exact, tensors, gradient)]

    def errors(found: torch.Tensor, inputs: Tensors) -> list[float]:
        rounded = [found.detach(), *torch.autograd.grad(found, inputs, gradient.bfloat16())]
        return [
            float((left.float() - right).norm() / right.norm())
            for left, right in zip(rounded, wanted, strict=True)
        ]

    small: Tensors = tuple(tensor.detach().bfloat16().requires_grad_() for tensor in tensors)  # pyright: ignore
    ours = errors(causal_attention(*small, lengths, 0.125, parents), small)
    theirs = errors(reference(small, lengths, 0.125, parents), small)
    for mine, its in zip(ours, theirs, strict=True):
        assert mine < its * 1.2


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("compiled", [True], indirect=True)
def test_the_kernels_results_do_not_depend_on_threads_or_on_neighbours() -> None:
    families = [([40], [-1]), ([7], [-1]), ([20, 30, 41], [-1, 0, 0]), ([90], [-1])]
    lengths = [length for own, _ in families for length in own]
    tensors = [one.detach().bfloat16() for one in made((6, 2), (64, 64), lengths, 8)]
    gradient = torch.randn(sum(lengths), 6, 64, generator=torch.Generator().manual_seed(9))

    def found(first: int, last: int) -> list[torch.Tensor]:
        start, end = (sum(sum(own) for own, _ in families[:one]) for one in (first, last))
        own = tuple(one[:, start:end].requires_grad_() for one in tensors)
        laid: list[int] = []
        parents: list[int] = []
        for sizes, behind in families[first:last]:
            parents += [len(laid) + parent if parent >= 0 else -1 for parent in behind]
            laid += sizes
        out = causal_attention(own[0], own[1], own[2], laid, 0.125, parents)
        grads = torch.autograd.grad(out, own, gradient[start:end].bfloat16())
        return [out.detach().transpose(0, 1), *grads]

    together = found(0, 4)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads == 1 else 1)
        assert all(map(torch.equal, found(0, 4), together))
    finally:
        torch.set_num_threads(threads)
    alone = [found(number, number + 1) for number in range(4)]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts, 1))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("compiled", [True], indirect=True)
def test_the_kernels_take_any_strides_but_the_last() -> None:
    lengths = [33, 20]
    tensors = [one.detach().bfloat16() for one in made((4, 2), (64, 64), lengths, 12)]
    gradient = torch.randn(64, 4, sum(lengths)).bfloat16().permute(2, 1, 0)

    def found(inputs: list[torch.Tensor], gradient: torch.Tensor) -> list[torch.Tensor]:
        own = [one.requires_grad_() for one in inputs]
        out = causal_attention(own[0], own[1], own[2], lengths, 0.125)
        return [out.detach(), *torch.autograd.grad(out, own, gradient)]

    laid = found([one.contiguous() for one in tensors], gradient.contiguous())
    assert all(map(torch.equal, found(tensors, gradient), laid))


@KERNELS
@pytest.mark.usefixtures("compiled")
def test_an_example_with_nan_spoils_no_other(request: pytest.FixtureRequest) -> None:
    lengths = [70, 5, 90]
    dtype = torch.bfloat16 if request.node.callspec.params["compiled"] else torch.float32
    tensors: Tensors = tuple(  # pyright: ignore[reportAssignmentType]
        one.detach().to(dtype).requires_grad_() for one in made((4, 2), (64, 64), lengths, 5)
    )
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
