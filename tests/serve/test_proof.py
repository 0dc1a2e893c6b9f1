"""Whether an engine is the model that was judged: for every method, and that another is seen."""

from pathlib import Path
from typing import Any

import pytest
from engines import METHODS, chat, write_adapter

from copydesk.errors import Damaged, WrongBase
from copydesk.models import BaseInfo, BaseStore
from copydesk.records import AdapterRef
from copydesk.serve import engine_difference
from copydesk.serve._formulas import NON_LINEARITIES

CHATS = [chat("Write about bread."), chat("Tell me of the harbour, and be brief.")]


@pytest.fixture(scope="module")
def info(tiny_base: Path) -> BaseInfo:
    return BaseStore(tiny_base).find(str(tiny_base))


@pytest.mark.parametrize("method", METHODS)
def test_an_engine_says_what_peft_says_but_for_rounding(
    info: BaseInfo, tmp_path: Path, method: str
) -> None:
    adapter = write_adapter(info, tmp_path / method, method, **METHODS[method])
    assert 0 < engine_difference(info, adapter, CHATS) < 1e-3


def other_scale(adapter: AdapterRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copydesk.models._adapter_weights._scale", lambda *_: 1.01)


def other_prefix(adapter: AdapterRef, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(base: Any, tensor: Any) -> Any:
        return tensor.to(base.dtype).roll(1, dims=0).contiguous()  # layers change places

    monkeypatch.setattr("copydesk.models._adapter_weights._fit", fit)


def no_slope(adapter: AdapterRef, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = {name: lambda z: z for name in NON_LINEARITIES}
    monkeypatch.setattr("copydesk.serve._handwritten.NON_LINEARITIES", straight)


@pytest.mark.parametrize(
    ("method", "spoil"),
    [("lora", other_scale), ("prefix", other_prefix), ("bottleneck", no_slope)],
)
def test_an_engine_that_computes_something_else_is_seen(
    info: BaseInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, spoil: Any
) -> None:
    adapter = write_adapter(info, tmp_path / method, method, **METHODS[method])
    spoil(adapter, monkeypatch)
    assert engine_difference(info, adapter, CHATS) > 1e-2


def test_what_cannot_be_loaded_says_so(info: BaseInfo, tmp_path: Path) -> None:
    adapter = write_adapter(info, tmp_path / "lora", lora_r=4)
    stranger = AdapterRef(
        name=adapter.name, path=adapter.path, digest=adapter.digest, base_digest="f" * 64
    )
    with pytest.raises(WrongBase):
        engine_difference(info, stranger, CHATS)
    (adapter.path / "adapter_model.safetensors").unlink()
    with pytest.raises(Damaged):
        engine_difference(info, adapter, CHATS)
