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
    """Silence what PEFT 0.21 says of its dealings with transformers 5: no user can change it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        # `generate` counts positions without the prompt's; PEFT drops them, and the model counts.
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        yield
