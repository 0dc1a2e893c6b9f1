"""The recipes that ship, and wrong ones."""

from pathlib import Path

import pytest

import copydesk
from copydesk.errors import InvalidInput, UnknownName
from copydesk.train import make_settings, read_recipe, recipe_method, settings_record

RECIPES = sorted((Path(__file__).parent.parent.parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_recipe_is_settings_of_its_method(path: Path) -> None:
    values = read_recipe(path)
    method, settings = recipe_method("auto", values)
    record = settings_record(*make_settings(method, settings))
    assert settings and settings == {key: record[key] for key in settings}
    assert copydesk.read_recipe(path) == values


def test_there_are_recipes() -> None:
    assert {"lora", "full-foundation"} <= {path.stem for path in RECIPES}


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('method = "lora"\nlora_rank = 8\nepochs = -1\noptimizer = "sgd"\n')
    with pytest.raises(InvalidInput) as caught:
        read_recipe(path)
    for part in ("lora_rank", "epochs", "optimizer", "wrong.toml"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lora_r = 8", "names no method"),
        ("method = 3", "names no method"),
        ("method =", "is not TOML"),
        ("[settings]", "names no method"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InvalidInput, match=said):
        read_recipe(tmp_path / "r.toml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_recipe(tmp_path / "absent.toml")


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('method = "magic"')
    with pytest.raises(UnknownName, match="magic"):
        read_recipe(tmp_path / "r.toml")


def test_the_recipe_names_the_method_unless_the_caller_names_another() -> None:
    given = {"method": "full", "epochs": 2}
    assert recipe_method("auto", given) == ("full", {"epochs": 2})
    assert recipe_method("full", given) == ("full", {"epochs": 2})
    assert recipe_method("lora", {"epochs": 2}) == ("lora", {"epochs": 2})
    with pytest.raises(InvalidInput, match="recipe is for full"):
        recipe_method("lora", given)
