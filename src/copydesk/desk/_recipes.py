"""Recipe files, for callers in Python."""

import os
from pathlib import Path
from typing import Any


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a recipe, a TOML file with `method` and its settings, for `Workspace.train`'s settings.

    Raises:
        InvalidInput: it cannot be read, or has keys or values that its method does not take.
        UnknownName: there is no such method.
    """
    from copydesk.train import read_recipe as read  # imports torch, which takes seconds

    return read(Path(path).expanduser())
