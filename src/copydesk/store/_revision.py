"""Which code made an artifact."""

import functools
import hashlib
from importlib import metadata
from pathlib import Path


@functools.cache
def code_revision() -> str:
    """`VERSION+DIGEST`: the package's version, and a hash of its modules as they are installed.

    The hash tells apart what a version number does not: a checkout between releases, a patched
    installation. It is over the sorted relative paths and contents of all `.py` and `.toml` files.
    """
    root = Path(__file__).parent.parent
    found = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        if file.suffix in {".py", ".toml"}:
            content = file.read_bytes()
            found.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
            found.update(content)
    try:
        version = metadata.version("copydesk")
    except metadata.PackageNotFoundError:  # run from a source folder
        version = "0"
    return f"{version}+{found.hexdigest()[:16]}"
