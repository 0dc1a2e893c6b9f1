"""`import`: a version from another workspace's bundle, verified before anything lists it."""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from copydesk.desk._models import version_quantisation, workspace_base
from copydesk.desk._place import FOUNDATIONS, Place
from copydesk.desk._using import using
from copydesk.errors import (
    AlreadyThere,
    CopydeskError,
    Damaged,
    InvalidInput,
    UnknownName,
    WrongBase,
)
from copydesk.models import (
    BaseInfo,
    BaseStore,
    find_method,
    load_adapter,
    load_base,
    pick_device,
    template_digest,
    weights_finite,
)
from copydesk.registry import Version, add_version, versions
from copydesk.store import (
    Artifact,
    Bundle,
    default_cache,
    fingerprint,
    read_bundle,
    read_fingerprint,
    storage_errors,
    unpack_bundle,
)

_ENDINGS: Final = frozenset({".json", ".safetensors", ".jinja", ".txt", ".model"})
"""Of the files that a version is made of; none of these is code."""
_ADAPTER_FILES: Final = frozenset({"adapter_config.json", "adapter_model.safetensors"})
_IMPORTS_CODE: Final = ("auto_mapping", "megatron_config", "megatron_core")
"""Fields of PEFT's configuration that name a module to import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A version that came from another workspace."""

    client: str
    version: str
    path: Path
    origin: str
    """What it was called there."""
    digest: str
    """The same here as there."""
    signer: str
    """Fingerprint of the key that the bundle was signed by."""
    client_added: bool


def import_version(
    place: Place, file: Path, *, client: str | None, trust: str | None, most: int | None = None
) -> Imported:
    """Make a bundle's version the next one of a client.

    Args:
        place: the workspace.
        file: the bundle.
        client: whose version it becomes; by default of the client that it names, which is added
            where there is none of that name.
        trust: fingerprint of the key that it may be signed by, beside those trusted here.
        most: bytes that its files may have together.

    Raises:
        InvalidInput: it is no bundle, holds what it may not, or its signer is not trusted.
        Damaged: something of it is not what was signed; names it, expected and found.
        WrongBase: it was trained on a base that is not here.
        AlreadyThere: the client has this version.
        NoRoom: the disk is full; nothing is listed.
    """
    limit: dict[str, int] = {} if most is None else {"most": most}
    bundle = read_bundle(file, **limit)
    signer = _trusted(place, bundle, trust)
    origin = str(bundle.record.get("version", ""))
    target = client or origin.partition("@")[0]
    _check_statement(bundle)
    base = _known_base(place, bundle)
    existing = {row.name for row in place.catalogue.clients()}
    if target in existing:
        _refuse_twice(place, target, bundle)

    def fill(artifact: Artifact) -> None:
        unpack_bundle(bundle, artifact.path, **limit)
        _check_model(bundle, artifact.path, base)
        artifact.facts.update(bundle.manifest.facts)
        artifact.facts["origin"] = {"version": origin, "signer": bundle.key.hex()}
        if target not in existing:
            place.catalogue.add_client(target)

    with contextlib.ExitStack() as used:
        if target in existing:
            used.enter_context(using(place, target, doing="imports a version of it"))
        try:
            version = add_version(place.catalogue, target, bundle.manifest.inputs, fill)
        except CopydeskError:
            _take_back(place, target, existing)
            raise
    return Imported(
        client=target,
        version=version.name,
        path=version.path,
        origin=origin,
        digest=version.digest,
        signer=signer,
        client_added=target not in existing,
    )


def _trusted(place: Place, bundle: Bundle, trust: str | None) -> str:
    """The signer's fingerprint, where it counts."""
    signer = fingerprint(bundle.key)
    named = read_fingerprint(trust) if trust is not None else None
    if bundle.key in place.catalogue.keys.trusted() or signer == named:
        return signer
    if named is not None:
        raise InvalidInput(
            f"The bundle is signed by another key: expected {named}, found {signer}",
            where=str(bundle.path),
            todo="Ask whoever sent it for the right one. Do not import it.",
        )
    raise InvalidInput(
        f"The bundle is signed by {signer}, which is not known here",
        where=str(bundle.path),
        todo="Ask whoever sent it for their fingerprint (copydesk doctor shows it). If it is the "
        f"same: --trust {signer}",
    )


def _check_statement(bundle: Bundle) -> None:
    """What can be said of a bundle before its files are read."""
    manifest, where = bundle.manifest, str(bundle.path)
    if manifest.kind != "versions" or bundle.record.get("digest") != manifest.digest:
        raise InvalidInput("The bundle does not hold the version that it names", where=where)
    inputs: Mapping[Any, Any] = manifest.inputs
    if not all(isinstance(part, str) for pair in inputs.items() for part in pair):
        raise InvalidInput("The bundle's inputs are not digests", where=where)
    method = find_method(str(manifest.facts.get("method")))
    if not _finite(manifest.facts):
        raise InvalidInput("A figure of the bundle is not a number", where=where)
    odd = [
        name
        for name in manifest.files
        if Path(name).suffix not in _ENDINGS
        or (method.leaves == "adapter" and name not in _ADAPTER_FILES)
    ]
    if odd:
        raise InvalidInput(
            f"The bundle holds {odd[0]!r}, which is no part of a version by {method.label}",
            where=where,
        )


def _finite(value: Any) -> bool:
    """Whether all numbers in a JSON value are; Python's reader lets NaN through."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list) else True


def _known_base(place: Place, bundle: Bundle) -> BaseInfo:
    """The base that the version was trained on.

    Raises:
        WrongBase: it is not here.
    """
    wanted = bundle.manifest.inputs.get("base", "")
    here = workspace_base(place)
    own = (folder for folder in (place.root / FOUNDATIONS).glob("*") if folder.is_dir())
    for info in (
        here,
        *(BaseStore(place.root).find(str(folder)) for folder in own if folder.name[0] != "."),
        *BaseStore(default_cache()).list(),
    ):
        if info.digest == wanted:
            return info
    raise WrongBase(
        f"It was trained on a base that is not here: expected {wanted[:12]}, found {here.name} "
        f"({here.digest[:12]})",
        where=str(bundle.path),
        todo="Pull that base (copydesk base pull), or name it as `base` in copydesk.toml.",
    )


def _refuse_twice(place: Place, client: str, bundle: Bundle) -> None:
    for version in versions(place.catalogue, client):
        if version.digest == bundle.manifest.digest:
            raise AlreadyThere(f"{version.name} is this version already", where=str(bundle.path))


def _check_model(bundle: Bundle, folder: Path, base: BaseInfo) -> None:
    """Load what was unpacked: shapes that fit the base, numbers that are finite.

    Raises:
        InvalidInput, Damaged: it cannot be used.
    """
    manifest, device = bundle.manifest, pick_device()
    method = find_method(str(manifest.facts["method"]))
    version = Version(
        client="",
        number=0,
        path=folder,
        digest=manifest.digest,
        inputs=manifest.inputs,
        facts=manifest.facts,
    )
    try:
        quantisation = version_quantisation(version)
        dtype = method.dtype("auto", device)
        if method.leaves == "base":
            info = BaseInfo(name="imported", path=folder, digest=manifest.digest, bytes=0)
            loaded = load_base(info, device=device, dtype=dtype)
            if not weights_finite(loaded):
                raise Damaged("A weight of the model is not finite", where=str(bundle.path))
            return
        _check_config(bundle, folder)
        loaded = load_base(base, device=device, dtype=dtype, quantisation=quantisation)
        load_adapter(loaded, folder, bound_to=manifest.inputs["base"])
    except CopydeskError as wrong:
        raise type(wrong)(wrong.what, where=str(bundle.path)) from wrong
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError) as wrong:
        raise InvalidInput(
            f"The bundle's version cannot be loaded: {str(wrong).splitlines()[0][:200]}",
            where=str(bundle.path),
        ) from wrong
    told = manifest.inputs.get("template", "").partition("/")[0]
    if told and told != template_digest(loaded.tokenizer):
        raise WrongBase(
            "It was trained with another chat template than the base's: expected "
            f"{told[:12]}, found {template_digest(loaded.tokenizer)[:12]}",
            where=str(bundle.path),
        )


def _check_config(bundle: Bundle, folder: Path) -> None:
    """Refuse a configuration that would have PEFT import a module that it names."""
    with storage_errors(folder):
        stated = json.loads((folder / "adapter_config.json").read_bytes())
    named = [key for key in _IMPORTS_CODE if isinstance(stated, dict) and stated.get(key)]
    if named and not (named == ["megatron_core"] and stated["megatron_core"] == "megatron.core"):
        raise InvalidInput(f"The adapter's configuration sets {named[0]}", where=str(bundle.path))


def _take_back(place: Place, client: str, existing: set[str]) -> None:
    """Remove a client that was added for a version that then could not be listed."""
    if client in existing:
        return
    with contextlib.suppress(UnknownName):
        if not versions(place.catalogue, client):
            place.catalogue.remove_client(client)
