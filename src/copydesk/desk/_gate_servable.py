"""Gates that ask whether a version can be served: alone, in the engine, and merged."""

from copydesk.desk._gate_models import version_model
from copydesk.desk._gate_settings import GateSettings
from copydesk.desk._models import trained_dtype, version_quantisation, workspace_base
from copydesk.desk._place import Place
from copydesk.errors import CopydeskError
from copydesk.evaluate import general_chats
from copydesk.models import (
    adapter_faults,
    dead_weights,
    find_method,
    finite_logits,
    merge_difference,
    weights_finite,
)
from copydesk.registry import GateResult, Version, adapter_ref
from copydesk.serve import engine_difference
from copydesk.store import open_artifact

_CHATS = 2
"""General chats that the engine continues: the same ones for every version."""


def servable_gates(
    place: Place, version: Version, probes: list[tuple[int, ...]], settings: GateSettings
) -> list[GateResult]:
    """Whether it loads as it was written, also in the engine, and is there the same model; and by
    methods that merge, whether merging leaves it the same."""
    faults = _faults(place, version, probes, settings)
    method = find_method(version.method)
    apart: list[GateResult] = []
    if not faults and method.leaves == "adapter" and "copydesk" in method.engines:
        try:
            apart.append(_served(place, version, settings))
        except CopydeskError as error:
            faults = [f"the engine does not run it: {error.what}"]
    if not faults and method.leaves == "adapter" and method.merges:
        apart.append(_merged(place, version, probes, settings))
    said = "its files are as written, it fits the base and its logits are numbers"
    if faults:
        said = "; ".join(faults[:3]) + ("; ..." if len(faults) > 3 else "")
    servable = GateResult(
        name="servable", value=len(faults), threshold=0, bound="most", detail=said
    )
    return [servable, *apart]


def _served(place: Place, version: Version, settings: GateSettings) -> GateResult:
    chats = [chat for _, chat, _ in general_chats()[:_CHATS]]
    return GateResult(
        name="served_difference",
        value=engine_difference(workspace_base(place), adapter_ref(version), chats),
        threshold=settings.served_difference,
        bound="most",
        detail="how far the engine's log-probabilities of the likeliest tokens are from PEFT's, in "
        "nats, in float32",
    )


def _merged(
    place: Place, version: Version, probes: list[tuple[int, ...]], settings: GateSettings
) -> GateResult:
    apart = merge_difference(
        workspace_base(place),
        version.path,
        bound_to=version.inputs["base"],
        quantisation=version_quantisation(version),
        dtype=trained_dtype(version),
        texts=probes,
    )
    return GateResult(
        name="merge_difference",
        value=apart,
        threshold=settings.merge_difference,
        bound="most",
        detail="how far merging moves the logits, as a share of their norm, in float32",
    )


def _faults(
    place: Place, version: Version, probes: list[tuple[int, ...]], settings: GateSettings
) -> list[str]:
    """What stands in the way of serving it."""
    try:
        open_artifact(version.path)
        leaves = find_method(version.method).leaves
        if leaves == "adapter":
            faults = adapter_faults(version.path, max_lora_rank=settings.max_lora_rank)
            if faults:
                return list(faults)
        tuned = version_model(place, version).load(None)
        if leaves == "base":
            if not weights_finite(tuned.base):
                return ["a weight is not finite"]
            if dead := dead_weights(tuned.base):
                return [f"the matrix {name} holds nothing but zeros" for name in dead]
        return [] if finite_logits(tuned, probes) else ["its logits are not finite"]
    except CopydeskError as error:
        return [error.what]
