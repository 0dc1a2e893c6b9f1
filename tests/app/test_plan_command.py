"""`copydesk plan`, inside a workspace and outside one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import copydesk
from copydesk.app.cli import main

SMALL = ("--set", "max_length=64", "--set", "batch_tokens=64")
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["plan", *arguments])
        return int(ended.value.code or 0), capsys.readouterr().out

    return command


def test_outside_a_workspace_the_smallest_model_is_planned(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = run("--hardware", "t4", "--tokens", "5000", *SMALL, "--json")
    found: dict[str, Any] = json.loads(told)
    assert code == 0
    assert found["model"] == "smollm2-135m"
    assert found["trainable_parameters"] == 4_884_480
    assert found["total_parameters"] == 134_515_008
    assert found["memory"].keys() >= {
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "logits",
        "overhead",
    }
    assert found["peak_memory_bytes"] == sum(found["memory"].values())
    assert found["epoch_tokens"] == 5000
    assert found["epoch_seconds"] > 0
    assert found["cost_usd"] > 0
    assert found["fits"] is True


def test_a_workspace_gives_base_settings_and_cards(
    run: Run, tiny_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "copydesk.toml").write_text(
        f'base = "{tiny_base}"\n[settings.lora]\nlora_r = 2\n', encoding="utf-8"
    )
    (tmp_path / "hardware").mkdir()
    (tmp_path / "hardware" / "closet.toml").write_text(
        'label = "closet"\nkind = "cpu"\nmemory_bytes = 8_000_000_000\nmemory_bandwidth = 2e10\n'
        "[dense_flops]\nfloat32 = 1e11\n",
        encoding="utf-8",
    )
    inside = ("--hardware", "closet", "--workspace", str(tmp_path), *SMALL)
    code, told = run("--json", "--pages-tokens", "30x800", *inside)
    found = json.loads(told)
    assert code == 0
    assert (found["model"], found["hardware"]) == (tiny_base.name, "closet")
    assert found["settings"]["lora_r"] == "2"
    assert found["epoch_tokens"] == 24_000
    assert found["cost_usd"] is None
    code, told = run(*inside)
    assert code == 0
    assert "peak memory" in told
    assert "unknown, the hardware has no price" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("llama-9",), "llama-3.1-70b"),
        (("--hardware", "h900"), "h100"),
        (("--hardware", "t4", "--method", "soft"), "prefix"),
        (("--hardware", "t4", "--set", "rank=3"), "rank is not a setting"),
        (("--pages-tokens", "many"), "300x800"),
        (("--pages-tokens", "3x8", "--tokens", "24"), "beside --tokens"),
    ],
)
def test_what_is_unknown_is_named_with_what_there_is(
    run: Run, arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out = run(*arguments, "--json")
    error = json.loads(out)["error"]
    assert code == 2
    assert told in f"{error['what']} {error['todo']}"


def test_the_published_table_is_shown(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = run("--claims")
    assert code == 0
    assert "impossible" in told
    assert "141 GB" in told


def test_the_method_is_chosen_for_a_client_and_planned(
    run: Run, tiny_base: Path, sample_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    with copydesk.open(tmp_path) as workspace:
        workspace.add_client("kestrel")
        workspace.curate("kestrel", [sample_folder / "kestrel" / "posts.jsonl"])
    inside = ("--choose", "--hardware", "t4", "--workspace", str(tmp_path), *SMALL)
    code, told = run("kestrel", *inside, "--json")
    found = json.loads(told)
    assert code == 0
    choice = found["choice"]
    assert choice["method"] == found["method"] and choice["runner_up"]
    assert all(reason["text"] and reason["source"] for reason in choice["reasons"])
    assert list(choice["scores"])[:2] == [choice["method"], choice["runner_up"]]
    assert found["peak_memory_bytes"] == sum(found["memory"].values())
    code, told = run(*inside, "--latency", "lowest")
    assert code == 0 and "was chosen, because:" in told and "peak memory" in told
    points = [line for line in told.splitlines() if line.startswith("- ")]
    assert len(points) == len(set(points)) > 2
    assert "Second choice: " in told
    assert "Cost of the run: under $0.01." in told
    for wrong, named in (("nobody", "kestrel"), ("kestrel", "lowest")):
        extra = ("--latency", "soon") if wrong == "kestrel" else ()
        code, told = run(wrong, *inside, *extra, "--json")
        assert code == 2 and named in json.loads(told)["error"]["todo"]
