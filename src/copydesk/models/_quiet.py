"""Keep libraries' own bars and notices off the terminal: only `app` draws."""

import contextlib
import warnings
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


@contextlib.contextmanager
def peft_notices() -> Generator[None]:
    """Silence what PEFT 0.21 does that transformers 5 calls old: nothing a user could change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        yield
