"""What kinds of characters there are, as far as words and lines need it."""

import functools
import re
import sys
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Chinese and Japanese are written without spaces: each of their characters counts as a word.
UNSPACED: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_BLANK, _UNSPACED = 1, 2


@functools.cache
def character_kinds() -> NDArray[np.uint8]:
    """A byte for each code point, as `_bytes.hpp` reads it: what Python itself calls a blank."""
    characters = "".join(map(chr, range(sys.maxunicode + 1)))
    kinds = np.zeros(len(characters), dtype=np.uint8)
    # Split at blanks, the text leaves them out.
    kept = np.frombuffer("".join(characters.split()).encode("utf-32-le", "surrogatepass"), "<u4")
    kinds += _BLANK
    kinds[kept] = 0
    unspaced = "".join(UNSPACED.findall(characters)).encode("utf-32-le")
    kinds[np.frombuffer(unspaced, "<u4")] |= _UNSPACED
    return kinds
