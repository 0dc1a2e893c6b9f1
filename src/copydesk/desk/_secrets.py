"""Planted secrets: strings in a client's pages that no version may give back.

`clients/NAME/canaries.txt` holds one a line. They are looked for in what every client's version
says, in any case and with anything between their letters.
"""

from pathlib import Path
from typing import Final

from copydesk.desk._place import Place
from copydesk.errors import InvalidInput

CANARIES_FILE: Final = "canaries.txt"
_LEAST: Final = 8
"""Letters and digits of a secret: a shorter one is met by chance."""
_MOST: Final = 1000
_LARGEST: Final = 1 << 20


def planted_secrets(place: Place) -> tuple[str, ...]:
    """The secrets of all clients.

    Raises:
        InvalidInput: a file is too large or not UTF-8, or a secret is too short.
    """
    found: dict[str, None] = {}
    for row in place.catalogue.clients():
        file = place.client_folder(row.name) / CANARIES_FILE
        if file.is_file():
            found |= dict.fromkeys(_read(file))
    return tuple(found)


def _read(file: Path) -> list[str]:
    if file.stat().st_size > _LARGEST:
        raise InvalidInput("The file is over 1 MiB", where=str(file))
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8", where=str(file)) from error
    secrets = [line for line in lines if line]
    if len(secrets) > _MOST:
        raise InvalidInput(f"{len(secrets)} secrets are over {_MOST}", where=str(file))
    short = [line for line in secrets if sum(map(str.isalnum, line)) < _LEAST]
    if short:
        raise InvalidInput(
            f"A secret has fewer than {_LEAST} letters and digits",
            where=str(file),
            todo="Plant longer ones: short ones are met by chance.",
        )
    return secrets
