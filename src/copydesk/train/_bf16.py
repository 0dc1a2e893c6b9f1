"""AdamW for weights kept in bfloat16.

A bfloat16 number has eight significant bits: a step of less than a 256th of a weight rounds to
nothing, and most steps are smaller. There are two ways out. A float32 copy of each weight takes the
steps, and the weight is that copy rounded. Or the stepped weight is rounded up or down by chance,
up with the probability of what is cut off, so that small steps arrive in the mean ("Revisiting
BFloat16 Training", Zamirai et al. 2020); then the moments are kept in bfloat16 in the same way,
since the second moment's decay of a thousandth would round to nothing too.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

CHUNK = 1 << 20
"""Numbers stepped at once: bounds the float32 copies to a few times 4 MB."""
_CUT = 16
_MASK = (1 << _CUT) - 1


class Bf16AdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019) over bfloat16 weights.

    Args:
        groups: parameter groups with `params`, and `weight_decay` where it is not 0.
        learning_rate: of groups that have no `lr`.
        master: keep a float32 copy of the weights and float32 moments; else round by chance and
            keep bfloat16 moments.
        seed: of the rounding, with the step's number and the parameter's place: a run that goes on
            from saved weights and moments rounds as if it had not stopped.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        *,
        learning_rate: float,
        master: bool,
        seed: int = 0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        defaults = {"lr": learning_rate, "weight_decay": 0.0}
        super().__init__([dict(group) for group in groups], defaults)
        self._master = master
        self._seed = seed
        self._betas = betas
        self._epsilon = epsilon

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Step every parameter that has a gradient."""
        assert closure is None, "the loop has computed the gradients already"
        place = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, group["lr"], group["weight_decay"], place)
                place += 1

    def _step_one(
        self, parameter: torch.nn.Parameter, rate: float, decay: float, place: int
    ) -> None:
        state = self.state[parameter]
        if not state:
            kept = torch.float32 if self._master else parameter.dtype
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter, dtype=kept)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=kept)
            if self._master:
                state["master"] = parameter.detach().float()
        state["step"] += 1
        noise = torch.Generator(parameter.device)
        noise.manual_seed(self._seed * 1_000_003 + state["step"] * 65_537 + place)
        assert parameter.grad is not None
        flat = {key: value.view(-1) for key, value in state.items() if key != "step"}
        weights, gradients = parameter.detach().view(-1), parameter.grad.reshape(-1)
        for start in range(0, weights.numel(), CHUNK):
            part = slice(start, start + CHUNK)
            source = flat["master"][part] if self._master else weights[part]
            new = self._stepped(
                source.float(),
                gradients[part].float(),
                flat["exp_avg"][part].float(),
                flat["exp_avg_sq"][part].float(),
                rate,
                decay,
                state["step"],
            )
            kept = [flat["exp_avg"][part], flat["exp_avg_sq"][part]]
            if self._master:
                for old, value in zip((flat["master"][part], *kept), new, strict=True):
                    old.copy_(value)
                weights[part].copy_(new[0])
            else:
                chances = _three_noises(new[0], noise)
                for old, value, chance in zip((weights[part], *kept), new, chances, strict=True):
                    old.copy_(_cut(value, chance))

    def _stepped(
        self,
        weight: torch.Tensor,
        gradient: torch.Tensor,
        mean: torch.Tensor,
        square: torch.Tensor,
        rate: float,
        decay: float,
        step: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Weight and moments after a step, in float32; the arguments are not kept."""
        first, second = self._betas
        mean = mean.lerp(gradient, 1 - first)
        square = (square * second).addcmul_(gradient, gradient, value=1 - second)
        scale = (square / (1 - second**step)).sqrt_().add_(self._epsilon)
        weight = (weight * (1 - rate * decay)).addcdiv_(
            mean, scale, value=-rate / (1 - first**step)
        )
        return weight, mean, square


def round_by_chance(values: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Float32 values as bfloat16, rounded up or down so that the mean over the noise is the value.

    Args:
        values: float32, finite, any shape.
        noise: on the device of `values`.
    """
    return _cut(values, _three_noises(values, noise)[0])


def _cut(values: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
    """Add 16 random bits below bfloat16's last bit, and cut them off."""
    bits = values.contiguous().view(torch.int32)
    return ((bits + chance) & ~_MASK).view(torch.float32).to(torch.bfloat16)


def _three_noises(like: torch.Tensor, noise: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Three tensors of 16 even random bits each, from one draw of 31.

    They share bits, which leaves each of them even; the roundings need no more.
    """
    bits = torch.empty(like.shape, dtype=torch.int32, device=like.device).random_(generator=noise)
    low, high = bits & _MASK, (bits >> (_CUT - 1)) & _MASK
    return low, high, low ^ high
