"""The command line: parse, call one method of the workspace, show what it returned."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from copydesk.app import (
    _client_commands,
    _draft_commands,
    _foundation_commands,
    _keeping_commands,
    _key_commands,
    _planning_commands,
    _registry_commands,
    _serve_command,
    _source_commands,
    _tuning_commands,
)
from copydesk.app._options import exit_code
from copydesk.app._output import emit_json, err, show_error
from copydesk.errors import CopydeskError, OutOfMemory

app = typer.Typer(
    name="copydesk",
    help="One base language model, every client's voice: tune, compare, write and check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for part in (
    _client_commands,
    _source_commands,
    _foundation_commands,
    _tuning_commands,
    _planning_commands,
    _registry_commands,
    _draft_commands,
    _keeping_commands,
    _key_commands,
    _serve_command,
):
    app.add_typer(part.commands)

_STOPPED = 130
_UsageError: Any = typer.BadParameter.__bases__[0]
"""What typer raises of a wrong command line: from click, or from the click inside newer typers."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a check said no, 2 caller's mistake, 3 machine."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given
    # torch reads this at its first large allocation: huge pages where the system offers them.
    # A training step then takes a tenth of the page faults (benchmarks/train_vs_trl.py).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Products that oneDNN keeps prepared, and those that PyTorch keeps of them for each thread: by
    # default 1,024, each number of rows with its own, of which a batch uses fifty. They lie
    # scattered in what training gives back, which then grows from step to step; a pass of sixteen
    # clients by 1.5 GB (benchmarks/many_clients.py).
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
    # On processors with AVX-512 BF16 it asks for a package whose product is not used here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    sys.exit(_guarded(lambda: app(given, standalone_mode=False), as_json=as_json))


def _guarded(run: Callable[[], Any], *, as_json: bool) -> int:
    """Run a command; what it raises becomes a message and an exit code."""
    try:
        code = run()
    except CopydeskError as error:
        show_error(error, as_json=as_json)
        return exit_code(error)
    except typer.Abort:
        err.print("Nothing was done.")
        return _STOPPED
    except _UsageError as error:
        if as_json:
            emit_json({"error": {"what": error.format_message(), "where": None, "todo": None}})
        error.show()
        return 2
    except KeyboardInterrupt:
        code = _STOPPED
    except MemoryError:
        problem = OutOfMemory("The machine's memory does not suffice", todo="Use a smaller base.")
        show_error(problem, as_json=as_json)
        return 3
    except Exception:  # noqa: BLE001 - the last line of defence: say that it is our bug
        traceback.print_exc()
        err.print("This is a fault in Copydesk. Please report it with the lines above.")
        return 3
    if code == _STOPPED:  # typer turns an interrupt into this code
        err.print("Stopped. Run the same command again to go on.")
    return code if isinstance(code, int) else 0
