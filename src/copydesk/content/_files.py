"""Reading the writer's small text files: size, encoding and kind checked, errors that name them."""

from pathlib import Path

from copydesk.errors import InvalidInput


def read_text(path: Path, *, kind: str, max_bytes: int) -> str:
    """A UTF-8 file's text with `\\n` line ends and no byte-order mark.

    Args:
        path: the file.
        kind: what it should be, for messages: `brief` or `draft`.
        max_bytes: the most that it may hold.

    Raises:
        InvalidInput: missing, not a file, unreadable, too large, empty, binary or not UTF-8.
    """

    def unusable(what: str, todo: str | None = None) -> InvalidInput:
        return InvalidInput(f"The {kind} {what}", where=str(path), todo=todo)

    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise unusable("is not there", "Check the path.") from error
    except IsADirectoryError as error:
        raise unusable("is a folder", "Name a file in it.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise unusable(f"cannot be read: {reason}") from error
    if len(raw) > max_bytes:
        raise unusable(f"is larger than {max_bytes // 1024} KiB", "Shorten or split it.")
    if b"\0" in raw:
        raise unusable("is a binary file", "Give plain text in UTF-8.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise unusable(f"is not UTF-8 (line {line})", "Save it as UTF-8.") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise unusable("is empty")
    return text
