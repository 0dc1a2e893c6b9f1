"""Functions of a built library, texts as they read them, and the threads they share with torch."""

import ctypes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_AS_UTF8 = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.POINTER(ctypes.c_ssize_t))(
    ("PyUnicode_AsUTF8AndSize", ctypes.pythonapi)
)
_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}


def bind(library: ctypes.CDLL, name: str, kinds: str, result: str = "") -> Any:
    """A function with its arguments' types, and its result's: p pointer, i int64, f float.

    Raises:
        AttributeError: the library has no such function.
    """
    function = getattr(library, name)
    function.argtypes = [_KINDS[kind] for kind in kinds]
    function.restype = _KINDS[result] if result else None
    return function


def utf8_of(text: str) -> tuple[int, int]:
    """(address, size) of a text in UTF-8: of its own bytes, which live as long as it does.

    Python keeps them beside a text that is not ASCII, so that they are made once.

    Raises:
        UnicodeEncodeError: it holds half of a surrogate pair.
    """
    size = ctypes.c_ssize_t()
    return _AS_UTF8(text, ctypes.byref(size)), size.value


def openmp_library() -> Path | None:
    """The OpenMP library that came with torch, where it is GNU's; torch is not imported for it."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return None
    found = sorted((Path(torch.origin).parent / "lib").glob("libgomp*.so*"))
    return found[0] if found else None
