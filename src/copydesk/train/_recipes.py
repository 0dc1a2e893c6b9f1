"""Recipe files: a method and its settings, as TOML."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copydesk.errors import InvalidInput
from copydesk.train._settings import make_settings

_LARGEST = 1 << 20


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings of a recipe file, `method` among them.

    Raises:
        InvalidInput: it cannot be read, is not TOML, names no method, or has settings that the
            method does not know or that are out of range: all of them are named.
        UnknownName: there is no such method.
    """
    try:
        raw = path.read_bytes()
        values = tomllib.loads(raw[: _LARGEST + 1].decode())
    except OSError as error:
        raise InvalidInput(
            f"The recipe cannot be read: {error.strerror}", where=str(path), todo="Check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The recipe is not TOML: {error}", where=str(path)) from error
    if len(raw) > _LARGEST:
        raise InvalidInput("The recipe is over 1 MiB", where=str(path))
    method = values.get("method")
    if not isinstance(method, str):
        raise InvalidInput(
            "The recipe names no method",
            where=str(path),
            todo='Add a line such as: method = "lora"',
        )
    try:
        make_settings(method, {key: value for key, value in values.items() if key != "method"})
    except InvalidInput as error:
        raise InvalidInput(error.what, where=str(path), todo=error.todo) from error
    return values


def recipe_method(method: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Method and settings of a run whose settings may come from a recipe, which names its method.

    Args:
        method: what the caller says; `auto` leaves it to the recipe.
        settings: with or without `method`.

    Raises:
        InvalidInput: the caller and the recipe name different methods.
    """
    rest = {key: value for key, value in settings.items() if key != "method"}
    named = settings.get("method", method)
    if method not in ("auto", named):
        raise InvalidInput(
            f"The recipe is for {named}, and the method asked for is {method}",
            todo="Leave one of them out.",
        )
    return named, rest
