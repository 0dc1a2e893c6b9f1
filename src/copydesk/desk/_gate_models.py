"""The models that gates measure: the base, the version, the promoted one, other clients'.

A model has a key, so that what was measured of it is found again, and is loaded only when
something is missing, one at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass

from copydesk.desk._models import load_version, version_dtype, workspace_base
from copydesk.desk._place import Place
from copydesk.models import Tuned, find_method, free_memory, load_base, pick_device, untuned
from copydesk.registry import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class GateModel:
    """A model that is measured."""

    name: str
    key: str
    """All that its answers depend on."""
    read: Callable[[str | None], Tuned]
    """Load it; with the name of an attention to score packed examples, None to write."""

    def load(self, attention: str | None = None) -> Tuned:
        """A fresh copy, after the memory of earlier ones was given back."""
        free_memory()
        return self.read(attention)


def base_model(place: Place, *, method: str) -> GateModel:
    """The workspace's base, in the number format that the method is used in."""
    info, device = workspace_base(place), pick_device()
    dtype = find_method(method).dtype("auto", device)

    def read(attention: str | None) -> Tuned:
        return untuned(load_base(info, device=device, dtype=dtype, attention=attention))

    return GateModel(name=info.name, key=f"{info.digest} {dtype}", read=read)


def version_model(place: Place, version: Version) -> GateModel:
    """A version, checked against its hashes whenever it is loaded."""
    base, dtype = workspace_base(place).digest, version_dtype(version)

    def read(attention: str | None) -> Tuned:
        return load_version(place, version, attention)

    return GateModel(name=version.name, key=f"{base} {version.digest} {dtype}", read=read)
