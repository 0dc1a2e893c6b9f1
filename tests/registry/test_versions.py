"""Which version a name means."""

from collections.abc import Generator
from pathlib import Path

import pytest

from copydesk.errors import InvalidInput, UnknownName
from copydesk.registry import Version, add_version, find_version, versions
from copydesk.store import Artifact, Catalogue, open_artifact


@pytest.fixture
def catalogue(tmp_path: Path) -> Generator[Catalogue]:
    opened = Catalogue(tmp_path)
    for name in ("acme", "bolt", "quiet"):
        opened.add_client(name)
    yield opened
    opened.close()


def add(catalogue: Catalogue, client: str, method: str = "lora") -> Version:
    def fill(artifact: Artifact) -> None:
        (artifact.path / "adapter.bin").write_bytes(method.encode())
        artifact.facts.update(method=method)

    return add_version(catalogue, client, {"base": "b", "run": method}, fill)


def test_a_version_is_what_was_added(catalogue: Catalogue) -> None:
    added = add(catalogue, "acme", "full")
    assert (added.name, added.method, added.number) == ("acme@1", "full", 1)
    assert added.inputs == {"base": "b", "run": "full"}
    assert (added.path / "adapter.bin").read_bytes() == b"full"
    assert open_artifact(added.path).digest == added.digest
    assert find_version(catalogue, "acme@1") == added


def test_without_a_number_the_newest_is_meant(catalogue: Catalogue) -> None:
    # Twelve, so that an order by text (1, 10, 11, 2) would show.
    added = [add(catalogue, "acme", f"m{number}") for number in range(12)]
    add(catalogue, "bolt")
    assert versions(catalogue, "acme") == tuple(added)
    assert find_version(catalogue, "acme") == added[-1]
    for version in added:
        assert find_version(catalogue, version.name) == version


def test_an_unknown_number_is_answered_with_those_there_are(catalogue: Catalogue) -> None:
    for _ in range(2):
        add(catalogue, "acme")
    for ref in ("acme@3", "acme@0", "acme@99999999999999999999"):
        with pytest.raises(UnknownName, match=r"acme@1, acme@2"):
            find_version(catalogue, ref)


@pytest.mark.parametrize("number", ["", "x", "-1", "1.0", "1@2", " 1", "²", "1x"], ids=repr)
def test_what_is_not_a_number_is_refused(catalogue: Catalogue, number: str) -> None:
    add(catalogue, "acme")
    with pytest.raises(InvalidInput, match="client@number"):
        find_version(catalogue, f"acme@{number}")


def test_a_client_without_versions_is_told_how_to_get_one(catalogue: Catalogue) -> None:
    for ref in ("quiet", "quiet@1"):
        with pytest.raises(UnknownName, match="copydesk train quiet"):
            find_version(catalogue, ref)
    assert versions(catalogue, "quiet") == ()


@pytest.mark.parametrize("ref", ["nobody", "nobody@1", "", "@1", "Acme", "../acme"])
def test_an_unknown_client_is_answered_with_the_known(catalogue: Catalogue, ref: str) -> None:
    with pytest.raises(UnknownName, match="acme, bolt, quiet"):
        find_version(catalogue, ref)
