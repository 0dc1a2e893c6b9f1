"""Gates that are losses: gain, forgetting, the diagonal of clients, what training wrote down."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from copydesk.desk._gate_cache import GateCache
from copydesk.desk._gate_models import GateModel
from copydesk.desk._gate_settings import GateSettings
from copydesk.desk._gate_texts import GateText, GateTexts
from copydesk.evaluate import loss_difference, mean_loss, score
from copydesk.models import ATTENTION, ExampleLoss
from copydesk.registry import GateResult, Version

Losses = tuple[ExampleLoss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLosses:
    """The losses of all models that a version is compared with."""

    version: Mapping[str, Losses]
    """`heldout`, `train`, `general`, and `other NAME` for each other client."""
    base: Mapping[str, Losses]
    promoted: Losses | None
    """On the held-out pages; None where there is no promoted version, or it is this one."""
    unseen: tuple[int, ...]
    """Which held-out pages the promoted version was not trained on."""
    rivals: Mapping[str, Losses]
    """Other client -> losses of its version on this client's held-out pages."""

    @property
    def gains(self) -> dict[str, float]:
        """Client -> how far the version's loss on its held-out pages is below the base's."""
        return {
            name.removeprefix("other "): mean_loss(self.base[name]) - mean_loss(losses)
            for name, losses in self.version.items()
            if name.startswith("other ")
        }


def losses_of(
    model: GateModel, texts: Mapping[str, GateText], cache: GateCache
) -> dict[str, Losses]:
    """A model's losses on some texts; the model is loaded only where some are not known yet."""
    asked = {name: {"losses": model.key, "text": text.digest} for name, text in texts.items()}
    found: dict[str, Losses] = {}
    for name, text in texts.items():
        kept = cache.find(text.client, asked[name])
        if kept is not None and len(kept.get("losses", ())) == len(text.examples):
            found[name] = tuple(ExampleLoss(**item) for item in kept["losses"])
    missing = [name for name in texts if name not in found]
    if missing:
        tuned = model.load(ATTENTION)
        for name in missing:
            found[name] = score(tuned, texts[name].examples)
            record = {"losses": [asdict(item) for item in found[name]]}
            cache.keep(texts[name].client, asked[name], record)
    return {name: found[name] for name in texts}


def loss_gates(
    version: Version, losses: GateLosses, texts: GateTexts, settings: GateSettings
) -> list[GateResult]:
    """What the losses say of a version."""
    return [
        _heldout_gain(losses, settings),
        *_live_loss(losses, settings),
        *_reproduced(version, losses, texts, settings),
        _train_gap(losses, settings),
        _forgetting(losses, settings),
        *_diagonal(losses, settings),
    ]


def _heldout_gain(losses: GateLosses, settings: GateSettings) -> GateResult:
    own, base = losses.version["heldout"], losses.base["heldout"]
    rise = loss_difference(own, base)
    return GateResult(
        name="heldout_gain",
        value=-rise.high,
        threshold=settings.heldout_gain,
        bound="least",
        detail=f"the loss on {len(own)} held-out pages went from {mean_loss(base):.3f} to "
        f"{mean_loss(own):.3f}: a gain of {-rise.value:.3f} (95% interval {-rise.high:.3f} to "
        f"{-rise.low:.3f})",
    )


def _live_loss(losses: GateLosses, settings: GateSettings) -> list[GateResult]:
    if losses.promoted is None:
        return []
    which = losses.unseen or tuple(range(len(losses.promoted)))
    own = mean_loss([losses.version["heldout"][at] for at in which])
    live = mean_loss([losses.promoted[at] for at in which])
    return [
        GateResult(
            name="live_loss",
            value=own - live,
            threshold=settings.live_loss,
            bound="most",
            detail=f"{own:.3f} against the live version's {live:.3f} on {len(which)} held-out pages"
            + ("" if losses.unseen else ", all of which the live version was trained on"),
        )
    ]


def _reproduced(
    version: Version, losses: GateLosses, texts: GateTexts, settings: GateSettings
) -> list[GateResult]:
    """Asked where the same pages are scored as in training."""
    noted = version.facts.get("heldout_loss")
    curve = version.facts.get("curve") or [{}]
    before = curve[0].get("heldout_loss")
    if not texts.whole:
        return []
    pairs = [(mean_loss(losses.version["heldout"]), noted)]
    if "base" in version.inputs:
        pairs.append((mean_loss(losses.base["heldout"]), before))
    apart = [abs(now - then) for now, then in pairs if isinstance(then, int | float)]
    if not apart:
        return []
    return [
        GateResult(
            name="reproduced",
            value=max(apart),
            threshold=settings.reproduced,
            bound="most",
            detail="how far held-out losses of the version and the base are from those that "
            "training wrote down",
        )
    ]


def _train_gap(losses: GateLosses, settings: GateSettings) -> GateResult:
    def gap(of: Mapping[str, Losses]) -> float:
        return mean_loss(of["heldout"]) - mean_loss(of["train"])

    own, base = gap(losses.version), gap(losses.base)
    return GateResult(
        name="train_gap",
        value=own - base,
        threshold=settings.train_gap,
        bound="most",
        detail=f"training pages are {own:.3f} easier than held-out ones, to the base {base:.3f}",
    )


def _forgetting(losses: GateLosses, settings: GateSettings) -> GateResult:
    own, base = mean_loss(losses.version["general"]), mean_loss(losses.base["general"])
    return GateResult(
        name="forgetting",
        value=own - base,
        threshold=settings.forgetting,
        bound="most",
        detail=f"the loss on general texts went from {base:.3f} to {own:.3f}",
    )


def _diagonal(losses: GateLosses, settings: GateSettings) -> list[GateResult]:
    """Among versions, the client's own must read its pages best; among clients, it must help its
    own most."""
    gates: list[GateResult] = []
    own = mean_loss(losses.version["heldout"])
    if losses.rivals:
        nearest = min(mean_loss(found) for found in losses.rivals.values())
        gates.append(
            GateResult(
                name="diagonal",
                value=nearest - own,
                threshold=settings.diagonal,
                bound="least",
                detail=f"the best of {len(losses.rivals)} other clients' versions has a loss of "
                f"{nearest:.3f} on the client's held-out pages, this one {own:.3f}",
            )
        )
    if losses.gains:
        gain = mean_loss(losses.base["heldout"]) - own
        highest = max(losses.gains.values())
        gates.append(
            GateResult(
                name="own_gain",
                value=gain - highest,
                threshold=settings.own_gain,
                bound="least",
                detail=f"a gain of {gain:.3f} on the client's held-out pages, of at most "
                f"{highest:.3f} on those of {len(losses.gains)} other clients",
            )
        )
    return gates
