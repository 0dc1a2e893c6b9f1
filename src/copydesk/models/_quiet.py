"""Keep transformers' own bars and notices off the terminal: only `app` draws."""

import contextlib
from collections.abc import Generator

from transformers import logging


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Silence transformers for the length of the block."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
