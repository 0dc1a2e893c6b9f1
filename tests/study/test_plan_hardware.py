"""Hardware cards, shipped and the user's own."""

from pathlib import Path

import pytest

from copydesk.errors import InvalidInput, UnknownName
from copydesk.study import find_machine, hardware_names

CARD = """
label = "a device of my own"
kind = "cuda"
memory_bytes = 48_000_000_000
memory_bandwidth = 1e12
[dense_flops]
float32 = 40e12
bfloat16 = 160e12
"""


def test_every_shipped_card_is_valid_and_dated() -> None:
    names = hardware_names()
    assert {"t4", "l4", "a10g", "rtx4090", "l40s", "a100-80", "h100", "h200", "b200"} <= set(names)
    for name in names:
        device = find_machine(name).device
        if device.kind == "cuda":
            assert device.price is not None
            assert device.price.source


def test_a_count_multiplies_devices_and_price() -> None:
    one, eight = find_machine("h100"), find_machine("h100x8")
    assert (eight.name, eight.count, eight.device) == ("h100x8", 8, one.device)
    assert eight.hourly_usd == pytest.approx(8 * (one.hourly_usd or 0))


def test_a_rate_follows_the_format_and_the_efficiency() -> None:
    device = find_machine("h100").device
    assert device.rate("bfloat16") == pytest.approx(989e12 * device.efficiency)
    assert device.rate("float32") == pytest.approx(67e12 * device.efficiency)
    without = find_machine("t4").device
    assert without.rate("bfloat16") == without.rate("float32")


def test_own_cards_come_before_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "h100.toml").write_text(CARD, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(CARD, encoding="utf-8")
    assert "mine" in hardware_names([tmp_path])
    for ref in ("h100", "mine", str(tmp_path / "mine.toml")):
        assert find_machine(ref, folders=[tmp_path]).device.label == "a device of my own"
    assert find_machine("minex4", folders=[tmp_path]).hourly_usd is None


def test_a_wrong_card_names_all_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(CARD + "colour = 'red'\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"dense_flops.colour: unknown key"):
        find_machine(str(path))
    path.write_text(CARD.replace("48_000_000_000", "0").replace("1e12", "-1"), encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"(?s)memory_bytes.*memory_bandwidth"):
        find_machine(str(path))
    path.write_text("label = ", encoding="utf-8")
    with pytest.raises(InvalidInput, match="not TOML"):
        find_machine(str(path))
    path.write_text("#" * (1 << 16) + "\n" + CARD, encoding="utf-8")
    with pytest.raises(InvalidInput, match="over 64 KiB"):
        find_machine(str(path))


@pytest.mark.parametrize("ref", ["h900", "h100x0", "h100x99999", "../h100", ""])
def test_an_unknown_card_is_told_what_there_is(ref: str) -> None:
    with pytest.raises(UnknownName, match=r"this, .*h100"):
        find_machine(ref)
