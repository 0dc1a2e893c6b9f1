"""Bundles between workspaces: what arrives is the version, and only what may be trusted arrives."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_tiny_base
from safetensors.torch import load_file, save_file

import copydesk
from copydesk import Brief, Workspace
from copydesk.app.cli import main
from copydesk.desk import examine
from copydesk.errors import (
    AlreadyThere,
    CopydeskError,
    InvalidInput,
    NoRoom,
    UnknownName,
    WrongBase,
)
from copydesk.registry import find_version
from copydesk.store import Keyring, building, open_artifact, write_bundle

QUICK = {"max_steps": 2, "max_length": 512, "dtype": "float32"}


@pytest.fixture(scope="module")
def sender(
    tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    """A workspace with fernwick@1 by LoRA, @2 by full fine-tuning, @3 by prompt tuning."""
    root = tmp_path_factory.mktemp("sender") / "agency"
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    with copydesk.open(root) as workspace:
        workspace.add_client("fernwick")
        workspace.curate("fernwick", [sample_folder / "fernwick" / "posts.jsonl"])
        for method in ("lora", "full", "prompt"):
            assert not workspace.train(["fernwick"], method=method, settings=QUICK).failed
        yield workspace


@pytest.fixture
def receiver(tiny_base: Path, tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "other"
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    with copydesk.open(root) as workspace:
        yield workspace


def bundle_of(sender: Workspace, number: int, file: Path) -> Path:
    return sender.export(f"fernwick@{number}", to="bundle", folder=file)


def trust(sender: Workspace) -> str:
    found = sender.catalogue.keys.fingerprint()
    assert found is not None
    return found


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_version_arrives_as_it_was(
    sender: Workspace, receiver: Workspace, tmp_path: Path, number: int
) -> None:
    file = bundle_of(sender, number, tmp_path / "v.bundle")
    made = receiver.import_version(file, trust=trust(sender))
    assert (made.version, made.origin) == ("fernwick@1", f"fernwick@{number}")
    assert made.client_added and made.signer == trust(sender)
    there = find_version(sender.catalogue, f"fernwick@{number}")
    here = find_version(receiver.catalogue, "fernwick@1")
    assert here.digest == there.digest == made.digest
    assert here.inputs == there.inputs
    assert {k: v for k, v in here.facts.items() if k != "origin"} == dict(there.facts)
    assert here.facts["origin"]["version"] == f"fernwick@{number}"
    for name in open_artifact(there.path).manifest.files:  # type: ignore[union-attr]
        assert (here.path / name).read_bytes() == (there.path / name).read_bytes()
    assert examine(receiver.root).found == (), "signed by this workspace now"
    brief = Brief(title="Sweet peas", format="blog", length=20)
    (written,) = receiver.write("fernwick", [brief], temperature=0)
    assert written.draft.version == "fernwick@1"
    assert receiver.export("fernwick@1", to="bundle", folder=tmp_path / "onward").is_file()


def test_an_unknown_signer_is_not_trusted_unasked(
    sender: Workspace, receiver: Workspace, tmp_path: Path
) -> None:
    file = bundle_of(sender, 1, tmp_path / "v.bundle")
    with pytest.raises(InvalidInput, match=rf"not known here.*--trust {trust(sender)}"):
        receiver.import_version(file)
    with pytest.raises(InvalidInput, match=rf"expected {'0' * 32}, found {trust(sender)}"):
        receiver.import_version(file, trust="0" * 32)
    with pytest.raises(InvalidInput, match="fingerprint"):
        receiver.import_version(file, trust="me")
    assert receiver.clients() == ()
    own = sender.catalogue.keys.own()
    assert own is not None
    receiver.catalogue.keys.trust(own)
    assert receiver.import_version(file).version == "fernwick@1"


def test_it_can_become_another_clients_and_comes_once(
    sender: Workspace, receiver: Workspace, tmp_path: Path
) -> None:
    file = bundle_of(sender, 1, tmp_path / "v.bundle")
    receiver.add_client("acme")
    made = receiver.import_version(file, client="acme", trust=trust(sender))
    assert made.version == "acme@1" and not made.client_added
    with pytest.raises(AlreadyThere, match="acme@1"):
        receiver.import_version(file, client="acme", trust=trust(sender))
    with pytest.raises(InvalidInput, match="client's name"):
        receiver.import_version(file, client="../evil", trust=trust(sender))
    assert [info.name for info in receiver.clients()] == ["acme"]


def test_another_base_is_refused_by_name(
    sender: Workspace, receiver: Workspace, tmp_path: Path
) -> None:
    file = bundle_of(sender, 1, tmp_path / "v.bundle")
    other = write_tiny_base(tmp_path / "elsewhere", tied=False)
    (receiver.root / "copydesk.toml").write_text(f'base = "{other}"\n', encoding="utf-8")
    with (
        copydesk.open(receiver.root) as moved,
        pytest.raises(WrongBase, match=r"expected .*found elsewhere"),
    ):
        moved.import_version(file, trust=trust(sender))
    assert receiver.clients() == ()


def forged(
    sender: Workspace,
    folder: Path,
    change: Callable[[Path], None],
    facts: dict[str, Any] | None = None,
) -> Path:
    """A bundle by somebody who is trusted and careless: well signed, with wrong content."""
    version = find_version(sender.catalogue, "fernwick@1")
    with building(folder / "forged", kind="versions", inputs=version.inputs) as artifact:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(version.path / name, artifact.path / name)
        change(artifact.path)
        artifact.facts.update({**version.facts, **(facts or {})})
    assert artifact.manifest is not None
    file = folder / "forged.bundle"
    record = {"version": "fernwick@1", "digest": artifact.digest}
    write_bundle(artifact.path, artifact.manifest, file, record=record, keys=Keyring(sender.root))
    return file


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        found = load_file(file)
        change(found)
        save_file(found, file)

    return harm


def config(**values: object) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return harm


def first(found: dict[str, torch.Tensor]) -> str:
    return sorted(found)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tensors(lambda t: t[first(t)].view(-1)[:1].fill_(float("nan"))), "not finite"),
        (tensors(lambda t: t[first(t)].view(-1)[:1].fill_(float("inf"))), "not finite"),
        (tensors(lambda t: t.update({first(t): t[first(t)][:, :-1].contiguous()})), "PEFT cannot"),
        (tensors(lambda t: t.pop(first(t))), "not those that"),
        (tensors(lambda t: t.update(extra=torch.zeros(2))), "not those that"),
        (config(r=3), "PEFT cannot|not those that"),
        (config(auto_mapping={"base_model_class": "x", "parent_library": "os"}), "auto_mapping"),
        (config(megatron_config={"a": 1}, megatron_core="antigravity"), "megatron"),
        (lambda p: (p / "adapter_config.json").write_text("[" * 50_000), "cannot be"),
        (lambda p: (p / "adapter_model.safetensors").write_bytes(b"\xff" * 99), "cannot be"),
        (lambda p: (p / "adapter_model.bin").write_bytes(b"\x80\x04."), "no part of a version"),
        (lambda p: (p / "extra.json").write_text("{}"), "no part of a version"),
    ],
)
def test_what_cannot_be_used_is_not_listed(
    sender: Workspace,
    receiver: Workspace,
    tmp_path: Path,
    change: Callable[[Path], None],
    said: str,
) -> None:
    file = forged(sender, tmp_path, change)
    with pytest.raises(CopydeskError, match=said) as caught:
        receiver.import_version(file, trust=trust(sender))
    assert str(file) in str(caught.value)
    assert receiver.clients() == ()
    assert not list((receiver.root / "artifacts").rglob("*.safetensors"))
    assert examine(receiver.root).healthy


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"method": "magic"}, "magic"),
        ({"method": ["lora"]}, "no method"),
        ({"settings": 3}, "cannot be loaded"),
        ({"settings": {"lora_r": {"a": 1}}}, "cannot be loaded"),
    ],
)
def test_odd_facts_do_no_harm(
    sender: Workspace, receiver: Workspace, tmp_path: Path, facts: dict[str, Any], said: str
) -> None:
    file = forged(sender, tmp_path, lambda path: None, facts)
    with pytest.raises((InvalidInput, UnknownName), match=said):
        receiver.import_version(file, trust=trust(sender))
    assert receiver.clients() == ()


def test_a_full_disk_lists_nothing(
    sender: Workspace, receiver: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource
    import signal

    file = bundle_of(sender, 2, tmp_path / "v.bundle")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(NoRoom, match="full"):
            receiver.import_version(file, trust=trust(sender))
        with pytest.raises(NoRoom, match="full"):
            bundle_of(sender, 2, tmp_path / "again.bundle")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert receiver.clients() == ()
    assert not (tmp_path / "again.bundle").exists()
    assert not list(tmp_path.glob(".*.part"))
    receiver.import_version(file, trust=trust(sender))


def test_a_merged_export_states_its_measured_difference(sender: Workspace, tmp_path: Path) -> None:
    left = sender.export_version("fernwick@1", to="merged", folder=tmp_path / "merged")
    assert left.merge_difference is not None
    assert 0 <= left.merge_difference < 1e-4, "rounding alone, in float32"
    told = json.loads((tmp_path / "merged" / "export.json").read_text())
    assert told["merge_difference"] == left.merge_difference
    assert sender.export_version("fernwick@2", to="merged", folder=tmp_path / "full").form


def test_the_commands(
    sender: Workspace, receiver: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "--json"])
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    file = tmp_path / "v.bundle"
    source = ("--workspace", sender.root)
    code, told = run("export", "fernwick@1", file, "--to", "bundle", *source)
    assert code == 0 and told["fingerprint"] == trust(sender)
    target = ("--workspace", receiver.root)
    code, refused = run("import", file, *target)
    assert code == 2 and "--trust" in refused["error"]["todo"]
    code, made = run("import", file, "--trust", told["fingerprint"], "--client", "acme", *target)
    assert code == 0 and made["version"] == "acme@1"
    code, refused = run("export", "fernwick@1", tmp_path / "g", "--to", "gguf", *source)
    assert code == 2 and "gguf" in refused["error"]["what"]
