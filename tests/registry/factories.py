"""Versions and evaluations for the registry's tests."""

from copydesk.registry import Evaluation, GateResult, Standard, Version, add_version
from copydesk.registry import record_evaluation as record
from copydesk.store import Artifact, Catalogue

STANDARD = Standard(thresholds="t", base="b")


def add(catalogue: Catalogue, client: str = "acme", method: str = "lora") -> Version:
    """A version that holds its method's name."""

    def fill(artifact: Artifact) -> None:
        (artifact.path / "adapter.bin").write_bytes(method.encode())
        artifact.facts.update(method=method)

    return add_version(catalogue, client, {"base": "b", "run": method}, fill)


def gate(name: str = "gain", value: float = 1.0, threshold: float = 0.5) -> GateResult:
    """A gate that wants at least its threshold."""
    return GateResult(name=name, value=value, threshold=threshold, bound="least")


def judge(
    catalogue: Catalogue,
    version: Version,
    *gates: GateResult,
    against: int | None = None,
    thresholds: str = STANDARD.thresholds,
    base: str = STANDARD.base,
) -> Evaluation:
    """Record what gates said; one that passes where none is given."""
    return record(
        catalogue,
        version,
        gates or (gate(),),
        base=base,
        against=against,
        thresholds=thresholds,
        software={"copydesk": "0"},
    )
