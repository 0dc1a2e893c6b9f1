"""A shared library from source files, by the compiler that the machine has."""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from copydesk.native._load import openmp_library

_LOG = logging.getLogger(__name__)
_COMPILERS: Final = ("c++", "g++", "clang++")
FLAGS: Final = (
    "-O3",
    "-march=native",
    "-std=c++17",
    "-shared",
    "-fPIC",
    # Sums in any order, and no error numbers; numbers that are not finite keep their meaning.
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-freciprocal-math",
)
_SECONDS = 120.0
"""Within which a compiler must have ended."""


def load_library(
    source: Path,
    *more: Path,
    cache: Path,
    openmp: bool = False,
    kind: type[ctypes.CDLL] = ctypes.CDLL,
) -> ctypes.CDLL | None:
    """The library of some source files, compiled unless it is in the cache.

    Args:
        source: of C++17.
        more: sources too, and the headers (`.hpp`) that they include, which lie beside them: the
            cache knows a library by the bytes of all of them.
        cache: the user's cache folder; libraries lie in `kernels` in it.
        openmp: whether it runs on torch's own threads; torch must have been imported then.
        kind: `ctypes.PyDLL` keeps other threads of Python waiting during a call.

    Returns:
        None where there is no compiler, or it or the system cannot do this; the log says why.
    """
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        _LOG.info("There is no C++ compiler: %s is done without", source.stem)
        return None
    try:
        built = _built((source, *more), compiler, cache / "kernels", openmp=openmp)
        return kind(str(built))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        _LOG.warning("%s could not be built: %s", source.name, str(said)[-500:])
        return None


def _built(files: tuple[Path, ...], compiler: str, folder: Path, *, openmp: bool) -> Path:
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True, timeout=_SECONDS
    ).stdout
    flags: list[str] = [*FLAGS]
    libraries: list[str] = []
    if openmp:
        flags.append("-fopenmp")
        own = openmp_library()  # torch's: one pool of threads and not two
        libraries += [] if own is None else [str(own)]
    content = [file.read_bytes() for file in files]
    known = [*content, version, *flags, *libraries, platform.machine(), _processor()]
    sources = [str(file) for file in files if file.suffix != ".hpp"]
    digest = hashlib.sha256(repr(known).encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / f"{digest}.so"
    if target.is_file() and _is_ours(target):
        return target
    descriptor, name = tempfile.mkstemp(prefix=".building-", suffix=".so", dir=folder)
    os.close(descriptor)
    try:
        subprocess.run(
            [compiler, *flags, *sources, "-o", name, *libraries],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
        )
        Path(name).replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
    return target


def _is_ours(file: Path) -> bool:
    return not hasattr(os, "getuid") or file.stat().st_uid == os.getuid()


@functools.cache
def _processor() -> str:
    """What this processor can do: a cache may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
