"""Shape cards and configurations: what is read, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from copydesk.errors import InvalidInput, UnknownName
from copydesk.study import find_architecture, shape_names

PUBLISHED = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.3-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    "mistral-7b": 7_248_023_552,
    "mixtral-8x7b": 46_702_792_704,
    "phi-4": 14_659_507_200,
    "phi-3.5-mini": 3_821_079_552,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
}
"""Numbers in the models' published weight files, a tied head once."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_has_as_many_parameters_as_the_published_weights(name: str, tmp_path: Path) -> None:
    assert find_architecture(name, cache=tmp_path).total_parameters == PUBLISHED[name]


def test_the_other_cards_build(tmp_path: Path) -> None:
    others = set(shape_names()) - set(PUBLISHED)
    assert others == {"gemma-3-4b", "gemma-3-12b", "gemma-3-27b", "deepseek-v3"}
    for name in others:
        found = find_architecture(name, cache=tmp_path)
        told = {"gemma-3-4b": 3.9, "gemma-3-12b": 11.8, "gemma-3-27b": 27.0, "deepseek-v3": 671.0}
        assert found.total_parameters / 1e9 == pytest.approx(told[name], rel=0.01)


def test_a_folder_and_its_file_are_read(tiny_base: Path, tmp_path: Path) -> None:
    folder = find_architecture(str(tiny_base), cache=tmp_path)
    file = find_architecture(str(tiny_base / "config.json"), cache=tmp_path)
    assert folder.total_parameters == file.total_parameters
    assert folder.name == file.name == tiny_base.name
    assert (folder.num_layers, folder.stored_dtype) == (2, "float32")


def test_an_unknown_model_is_told_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"llama-3\.1-70b"):
        find_architecture("llama-9", cache=tmp_path)


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ([], "names no model_type"),
        ({"hidden_size": 8}, "names no model_type"),
        ({"model_type": "of-my-own"}, "no architecture 'of-my-own'"),
        ({"model_type": "llama", "num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"model_type": "llama", "hidden_size": "wide"}, "hidden_size"),
        ({"model_type": "llama", "vocab_size": -1, "hidden_size": 0}, "vocab_size.*|hidden_size"),
        ({"model_type": "t5"}, "cannot build"),
    ],
)
def test_an_absurd_configuration_is_refused(stated: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(stated), encoding="utf-8")
    with pytest.raises(InvalidInput, match=told):
        find_architecture(str(path), cache=tmp_path)


def test_a_configuration_that_is_too_large_or_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInput, match="not JSON"):
        find_architecture(str(tmp_path), cache=tmp_path)
    path.write_text(" " * (1 << 20) + "{}", encoding="utf-8")
    with pytest.raises(InvalidInput, match="over 1 MiB"):
        find_architecture(str(tmp_path), cache=tmp_path)
