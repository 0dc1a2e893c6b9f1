"""Generation: a base, with or without an adapter, that continues chats.

Reads: a loaded base and an adapter's folder. Does not know: HTTP, keys, clients' texts, what a
brief is.
"""

from copydesk.serve._writer import Writer

__all__ = ["Writer"]
