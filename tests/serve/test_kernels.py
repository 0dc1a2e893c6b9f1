"""The compiled kernels against torch in float32, row by row and side by side."""

import ctypes
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from engines import CPU, METHODS, write_adapter

from copydesk.models import AdapterWeights, Base, BaseStore, load_base, read_adapter
from copydesk.native import _build
from copydesk.records import Sampling
from copydesk.serve import _kernels as kernels_module
from copydesk.serve._architecture import read_architecture
from copydesk.serve._compiled import CompiledPairs
from copydesk.serve._drawing import Drawer, draw
from copydesk.serve._fused import FusedAdapter, FusedPair, FusedPart, Place
from copydesk.serve._handwritten import HandwrittenRunner
from copydesk.serve._kernels import Attention, Kernels, load_kernels
from copydesk.serve._runner import Stretch

LAYERS = 2
PLACE: Place = (1, "qkv")


@pytest.fixture(scope="module", params=["of this processor", "portable"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "portable":
            folder = tmp_path_factory.mktemp("kernels")
            patch.setattr(kernels_module, "default_cache", lambda: folder)
            patch.setattr(_build, "FLAGS", (*_build.FLAGS, "-DPORTABLE"))
        found = load_kernels.__wrapped__()
    if found is None:
        pytest.skip("there is no C++ compiler")
    return found


@pytest.fixture(autouse=True)
def seeded() -> Generator[None]:
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape).bfloat16()


def near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Within the last place of a bfloat16, or two."""
    return torch.allclose(found.float(), expected.float(), atol=1e-2, rtol=1e-2)


def test_the_norm_is_the_root_mean_square(kernels: Kernels) -> None:
    x, weight = numbers(150, 576), numbers(576)
    found = kernels.norm(x, weight, 1e-5)
    assert near(found, torch.rms_norm(x.float(), (576,), weight.float(), 1e-5))
    assert torch.equal(kernels.norm(x[7:8].clone(), weight, 1e-5), found[7:8]), (
        "alone as in a crowd"
    )


def adapter(ranks: dict[int, int], widths: tuple[int, ...], inputs: int) -> FusedAdapter:
    """A pair for each part that has a rank."""
    parts: list[FusedPart] = []
    lows: list[torch.Tensor] = []
    for at, rank in ranks.items():
        begin = sum(widths[:at])
        parts.append(FusedPart.of(begin, numbers(widths[at], rank)))
        lows.append(numbers(rank, inputs) / inputs**0.5)
    pair = FusedPair(a=torch.cat(lows), parts=tuple(parts), outputs=sum(widths), factors=None)
    return FusedAdapter(
        layers=LAYERS, pairs={PLACE: pair}, narrow={}, non_linearity="", prefix=None, prompt=None
    )


@pytest.mark.parametrize("widths", [(96, 64, 64), (576, 192, 192), (130, 7, 33)])
@pytest.mark.parametrize("threads", [1, 2])
def test_each_row_gets_its_own_pairs(
    kernels: Kernels, widths: tuple[int, ...], threads: int
) -> None:
    torch.set_num_threads(threads)
    inputs = 80
    one = adapter({0: 8, 1: 4, 2: 5}, widths, inputs)
    other = adapter({1: 16}, widths, inputs)
    rows = [one, None, other, one, other, None, one]
    x, y = numbers(len(rows), inputs), numbers(len(rows), sum(widths))
    found = y.clone()
    CompiledPairs(rows, kernels).add(PLACE, x, found)
    for at, own in enumerate(rows):
        expected = y[at].float()
        if own is not None:
            pair = own.pairs[PLACE]
            low = (x[at].float() @ pair.a.float().T).bfloat16()  # kept in bfloat16, as by PEFT
            expected = expected + low.float() @ pair.dense_b().float().T
        assert near(found[at], expected), at
        alone = y[at : at + 1].clone()
        CompiledPairs([own], kernels).add(PLACE, x[at : at + 1].clone(), alone)
        assert torch.equal(alone[0], found[at]), "alone as in a crowd"
    untouched = y.clone()
    CompiledPairs(rows, kernels).add((0, "qkv"), x, untouched)
    assert torch.equal(untouched, y), "no pairs at this place"


@pytest.mark.parametrize("name", ["silu", "gelu"])
def test_gate_and_up_with_their_pairs(kernels: Kernels, name: str) -> None:
    def activation(x: torch.Tensor) -> torch.Tensor:
        if name == "silu":
            return torch.nn.functional.silu(x)
        return torch.nn.functional.gelu(x, approximate="tanh")

    kind = kernels.find_activation(activation)
    assert kind is not None
    assert kernels.find_activation(torch.relu) is None
    own = adapter({0: 4}, (200,), 64)
    x, gate, up = numbers(3, 64), numbers(3, 200), numbers(3, 200) * 3
    rows = CompiledPairs([own, None, own], kernels)
    place = 5 + 0  # layer 1, group 0: where PLACE is
    found = kernels.gated(rows.pointer, (place, 0), x, gate.clone(), up.clone(), kind)
    pair = own.pairs[PLACE]
    low = (x.float() @ pair.a.float().T).bfloat16().float()
    added = low @ pair.parts[0].plain_b().float().T
    added[1] = 0
    assert near(found, activation((gate.float() + added).bfloat16()).float() * up.float())


def attended(
    qkv: torch.Tensor,
    block: torch.Tensor,
    positions: list[int],
    how: Attention,
    tables: tuple[torch.Tensor, torch.Tensor],
    norms: tuple[torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """What the kernel computes, in float32 and one head at a time."""
    heads, groups, width = how.heads, how.groups, how.width
    out = torch.zeros(len(positions), heads * width)
    for row, position in enumerate(positions):
        if position < 0:
            continue
        states = qkv[row].float().view(heads + 2 * groups, width)

        def turned(x: torch.Tensor, norm: torch.Tensor | None, at: int = position) -> torch.Tensor:
            if norm is not None:
                x = torch.rms_norm(x, (width,), norm.float(), how.epsilon)
            swapped = torch.cat([x[width // 2 :], x[: width // 2]])
            return x * tables[0][at] + swapped * tables[1][at]

        for group in range(groups):
            key = turned(states[heads + group], norms and norms[1])
            block[0, row, group, position] = key.bfloat16()
            block[1, row, group, position] = states[heads + groups + group].bfloat16()
        first = max(0, position + 1 - how.window) if how.window else 0
        for head in range(heads):
            group = head // (heads // groups)
            query = turned(states[head], norms and norms[0])
            scores = block[0, row, group, first : position + 1].float() @ query * how.scale
            if how.cap:
                scores = how.cap * torch.tanh(scores / how.cap)
            mixed = scores.softmax(0) @ block[1, row, group, first : position + 1].float()
            out[row, head * width : (head + 1) * width] = mixed
    return out


@pytest.mark.parametrize(
    ("width", "window", "cap", "normed"),
    [(64, 0, 0.0, False), (16, 5, 0.0, False), (128, 0, 3.0, True), (80, 7, 0.0, True)],
)
def test_attention_of_one_token_a_row(
    kernels: Kernels, width: int, window: int, cap: float, normed: bool
) -> None:
    heads, groups, length = 6, 2, 40
    angles = torch.outer(torch.arange(length).float(), 0.3 ** torch.arange(width // 2).float())
    cos, sin = torch.cat([angles.cos()] * 2, 1), torch.cat([-angles.sin(), angles.sin()], 1)
    norms = (numbers(width), numbers(width)) if normed else None
    positions = [0, -1, 17, 39]
    block = numbers(2, len(positions), groups, length, width)
    how = Attention(
        heads=heads,
        groups=groups,
        width=width,
        slot_stride=block.stride(1),
        head_stride=block.stride(2),
        window=window,
        scale=width**-0.5,
        cap=cap,
        epsilon=1e-6,
        cos=cos.data_ptr(),
        sin=sin.data_ptr(),
        query_norm=norms[0].data_ptr() if norms else None,
        key_norm=norms[1].data_ptr() if norms else None,
    )
    qkv = numbers(len(positions), (heads + 2 * groups) * width)
    expected_block, found_block = block.clone(), block.clone()
    expected = attended(qkv, expected_block, positions, how, (cos, sin), norms)
    found = kernels.attend(ctypes.addressof(how), qkv, torch.tensor(positions), found_block)
    assert near(found, expected)
    assert near(found_block, expected_block), "keys and values are kept"
    assert torch.equal(found_block[:, 1], block[:, 1]), "of silent rows none"


def test_numbers_that_are_not_stay_in_their_row(kernels: Kernels) -> None:
    x = numbers(4, 64)
    x[2, 5] = torch.nan
    found = kernels.norm(x, numbers(64), 1e-5)
    assert found[2].isnan().all()
    assert found[[0, 1, 3]].isfinite().all()
    own = adapter({0: 8}, (96,), 64)
    y = torch.zeros(4, 96).bfloat16()
    CompiledPairs([own] * 4, kernels).add(PLACE, x, y)
    assert y[2].isnan().all()
    assert y[[0, 1, 3]].isfinite().all()


# In the engine


def runner_of(base: Base, kernels: Kernels | None) -> HandwrittenRunner:
    shape = read_architecture(base, 64)
    assert shape is not None
    shape.quantise(None)
    return HandwrittenRunner(base, shape, slots=8, length=63, kernels=kernels)


def steps(runner: HandwrittenRunner, adapters: list[AdapterWeights | None]) -> list[torch.Tensor]:
    """Logits of prompts of several lengths, one after the other, beside texts under way."""
    found: list[torch.Tensor] = []
    used: dict[int, int] = {}
    for slot, weights in enumerate(adapters):
        prepared = None if weights is None else runner.prepare(weights)
        used[slot] = runner.open(slot, prepared)
        ids = [5 + slot, 80, 9, 200 - slot, 33][: 3 + slot % 3]
        if weights is not None and weights.prompt is not None:
            ids = [-1 - at for at in range(len(weights.prompt))] + ids
        stretches = [
            Stretch(slot=other, ids=[40 + other], start=used[other], wanted=True)
            for other in range(slot)
        ]
        stretches.append(Stretch(slot=slot, ids=ids, start=used[slot], wanted=True))
        found.append(runner.run(stretches).float())
        for stretch in stretches:
            used[stretch.slot] = stretch.start + len(stretch.ids)
    return found


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
def test_the_forward_with_kernels_is_the_one_without(
    kernels: Kernels, family: str, tmp_path: Path
) -> None:
    folder = write_tiny_base(tmp_path / "base", family)
    info = BaseStore(tmp_path / "cache").find(str(folder))
    found: dict[str, list[torch.Tensor]] = {}
    for name, dtype, chosen in (
        ("exact", torch.float32, None),
        ("torch", torch.bfloat16, None),
        ("kernels", torch.bfloat16, kernels),
        ("again", torch.bfloat16, kernels),
    ):
        base = load_base(info, device=CPU, dtype=dtype)
        adapters: list[AdapterWeights | None] = []
        for method, settings in METHODS.items():
            place = tmp_path / name / method
            ref = write_adapter(info, place, method, **settings)
            adapters += [read_adapter(base, ref.path, bound_to=info.digest), None]
        found[name] = steps(runner_of(base, chosen), adapters[:8])

    def error(name: str) -> float:
        gaps = zip(found[name], found["exact"], strict=True)
        return sum(float((own - exact).abs().mean()) for own, exact in gaps)

    assert error("kernels") < 1.2 * error("torch")
    assert all(map(torch.equal, found["kernels"], found["again"]))


def test_a_text_in_bfloat16_does_not_depend_on_its_company(
    kernels: Kernels, tiny_base: Path, tmp_path: Path
) -> None:
    info = BaseStore(tmp_path / "cache").find(str(tiny_base))
    base = load_base(info, device=CPU, dtype=torch.bfloat16)
    refs = [write_adapter(info, tmp_path / f"c{n}", lora_r=2 + 3 * n, seed=n) for n in range(4)]
    weights = [read_adapter(base, ref.path, bound_to=info.digest) for ref in refs]
    ids = [7, 90, 14, 33]

    def written(company: list[int]) -> list[torch.Tensor]:
        """Logits of the first client's text, whose slot is behind those of its company."""
        runner = runner_of(base, kernels)
        slots = [*company, 0]
        for slot, client in enumerate(slots):
            runner.open(slot, runner.prepare(weights[client]))
        for slot in range(len(slots)):
            runner.run([Stretch(slot=slot, ids=ids, start=0, wanted=True)])
        return [
            runner.run(
                [
                    Stretch(slot=slot, ids=[50 + at], start=len(ids) + at, wanted=True)
                    for slot in range(len(slots))
                ]
            )[-1]
            for at in range(6)
        ]

    alone = written([])
    for company in ([1], [2, 3, 1], [0, 1, 0, 2, 3, 0, 1]):
        for found, expected in zip(written(company), alone, strict=True):
            assert torch.equal(found, expected)


# Building


def built(home: Path, path: str) -> subprocess.CompletedProcess[str]:
    """What a fresh process says when it loads the kernels."""
    code = (
        "import logging; logging.basicConfig(level='INFO');"
        "from copydesk.serve._kernels import load_kernels; print(load_kernels() is not None)"
    )
    env = os.environ | {"PATH": path, "XDG_CACHE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )


def compiler_that(says: str, folder: Path) -> str:
    """A PATH with a compiler that writes this and fails."""
    folder.mkdir()
    script = folder / "c++"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo odd && exit 0\necho "{says}" >&2\nexit 1\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME")
def test_without_a_compiler_that_works_there_are_none(tmp_path: Path) -> None:
    nothing = built(tmp_path / "cache", str(tmp_path / "nowhere"))
    assert nothing.stdout == "False\n"
    assert "no C++ compiler" in nothing.stderr
    odd = built(tmp_path / "cache", compiler_that("unknown flag", tmp_path / "bin"))
    assert odd.stdout == "False\n"
    assert "could not be built: unknown flag" in odd.stderr
    assert [f.name for f in (tmp_path / "cache").rglob("*") if f.is_file()] == []


def test_a_build_is_kept(
    kernels: Kernels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert kernels
    monkeypatch.setattr(kernels_module, "default_cache", lambda: tmp_path)
    load = load_kernels.__wrapped__
    with caplog.at_level(logging.WARNING):
        assert load() is not None
        (library,) = (tmp_path / "kernels").iterdir()
        assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700
        made = library.stat().st_mtime_ns
        assert load() is not None
        assert library.stat().st_mtime_ns == made
    assert not caplog.records


def drawers(count: int, **settings: Any) -> list[Drawer]:
    made = [Drawer(sampling=Sampling(seed=row, **settings)) for row in range(count)]
    for row, drawer in enumerate(made):
        drawer.note(range(row, row + 100))
    return made


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.2, 0.7])
@pytest.mark.parametrize("temperature", [0.0, 1e-9, 0.7, 3.0])
def test_tokens_are_those_that_numpy_draws(
    kernels: Kernels, top_p: float, penalty: float, temperature: float
) -> None:
    """Sums are rounded otherwise, so that a point near the edge of a token may fall beside it."""
    settings = {"temperature": temperature, "top_p": top_p, "repetition_penalty": penalty}
    same = total = 0
    for sharpness in (0.5, 2.0, 6.0):
        for width in (150, 5003):
            logits = (torch.randn(40, width) * sharpness).bfloat16()
            found = draw(logits.clone(), drawers(40, **settings), kernels)
            expected = draw(logits.clone(), drawers(40, **settings))
            same += sum(
                one.token == other.token for one, other in zip(found, expected, strict=True)
            )
            total += len(expected)
            for row, drawer in enumerate(drawers(40, **settings)):
                alone = draw(logits[row : row + 1].clone(), [drawer], kernels)
                assert alone == [found[row]], "alone as in a crowd"
    assert same >= 0.98 * total


def test_the_kernel_draws_by_probability(kernels: Kernels) -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -torch.inf]]).bfloat16()
    rows = logits.expand(4000, -1).contiguous()
    drawn = draw(rows, drawers(4000, temperature=1, top_p=1, repetition_penalty=1), kernels)
    counts = torch.bincount(torch.tensor([each.token for each in drawn]), minlength=5)
    assert ((counts / 4000 - logits[0].float().softmax(-1)).abs() < 0.03).all()
    assert counts[4] == 0


def test_broken_rows_and_rows_with_wishes_stand_beside_others(kernels: Kernels) -> None:
    logits = torch.randn(6, 300)
    logits[1, 2] = torch.nan
    logits[2, 5] = torch.inf
    logits[3] = -torch.inf
    logits[4, 7] = 50
    made = drawers(6, temperature=0.8, top_p=0.9, repetition_penalty=1.1)
    made[5].logprobs = 2
    found = draw(logits.bfloat16(), made, kernels)
    assert [each.finite for each in found] == [True, False, False, False, True, True]
    assert found[4].token == 7
    assert len(found[5].top) == 2 and not found[0].top
    beyond = Drawer(sampling=Sampling(temperature=0, repetition_penalty=2.0))
    beyond.note((10_000, 1))  # a prompt's token that the head does not have
    assert draw(torch.tensor([[1.0, 1.5, 0.8]]).bfloat16(), [beyond], kernels)[0].token == 0
