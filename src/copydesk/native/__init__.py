"""C++ that the machine's own compiler builds at its first use.

Rooms above keep their source beside the Python that calls it, and do without where nothing could be
built. What was built lies in the user's cache, under a name that says of what, by what and for
which processor.

Reads: source files. Writes: the cache folder it is given. Does not know: what the code computes.
"""

from copydesk.native._build import load_library
from copydesk.native._load import bind, openmp_library, utf8_of

__all__ = ["bind", "load_library", "openmp_library", "utf8_of"]
