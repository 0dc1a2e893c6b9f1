"""Bases and versions, loaded and handed out."""

import dataclasses

import torch

from copydesk.desk._place import FOUNDATIONS, Place
from copydesk.errors import WrongBase
from copydesk.models import (
    BaseInfo,
    BaseStore,
    Quantisation,
    Tuned,
    find_method,
    load_adapter,
    load_base,
    pick_device,
    untuned,
)
from copydesk.registry import Version
from copydesk.store import default_cache, open_artifact


def workspace_base(workspace: Place) -> BaseInfo:
    """The base that the workspace names: a foundation of its own, or one that was pulled."""
    own = workspace.root / FOUNDATIONS / workspace.config.base
    ref = str(own) if own.is_dir() else workspace.config.base
    return BaseStore(default_cache()).find(ref)


def load_version(workspace: Place, version: Version, attention: str | None = None) -> Tuned:
    """A version's model, checked against its signed hashes and loaded for generation.

    With `models.ATTENTION` it is loaded to score packed examples.

    Raises:
        WrongBase: it is bound to another base than the workspace's.
        Damaged: a file is not what was written.
    """
    open_artifact(version.path, keys=workspace.catalogue.keys)
    device = pick_device()
    method, dtype = find_method(version.method), version_dtype(version)
    if method.leaves == "base":
        info = BaseInfo(name=version.name, path=version.path, digest=version.digest, bytes=0)
        return untuned(load_base(info, device=device, dtype=dtype, attention=attention))
    info, bound_to = workspace_base(workspace), version.inputs["base"]
    if bound_to != info.digest:
        raise WrongBase(
            f"{version.name} was trained on base {bound_to[:12]}, and the workspace's is "
            f"{info.name} ({info.digest[:12]})",
            todo="Train all such clients anew in one pass: copydesk train --all --stale. A client "
            "that promoted a version then promotes its new one.",
        )
    base = load_base(
        info,
        device=device,
        dtype=dtype,
        attention=attention,
        quantisation=version_quantisation(version),
    )
    return load_adapter(base, version.path, bound_to=bound_to)


def version_quantisation(version: Version) -> Quantisation | None:
    """How the version's base was held in training."""
    method = find_method(version.method)
    own = {field.name for field in dataclasses.fields(method.settings)}
    stated = version.facts["settings"]
    return method.quantisation(
        method.settings(**{key: value for key, value in stated.items() if key in own})
    )


def version_dtype(version: Version) -> torch.dtype:
    """The number format that a version is used in."""
    if version_quantisation(version) is not None:
        # The weights that 4 bits stand for follow from the format before.
        return trained_dtype(version)
    return find_method(version.method).dtype("auto", pick_device())


def trained_dtype(version: Version) -> torch.dtype:
    """The number format that its base was trained in."""
    return getattr(torch, version.facts["dtype"])
