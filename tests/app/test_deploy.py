"""The examples of deployment name commands and options that there are."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from typer.main import get_command

from copydesk.app.cli import app

DEPLOY = Path(__file__).parents[2] / "deploy"


def parse(line: list[str]) -> dict[str, Any]:
    """The values of a `copydesk` command line's options, as the program reads them."""
    command: Any = get_command(app)
    assert Path(line[0]).name == "copydesk"
    return command.commands[line[1]].make_context(line[1], line[2:]).params


def test_the_unit_starts_the_server() -> None:
    unit = (DEPLOY / "copydesk.service").read_text()
    found = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert found
    values = parse(shlex.split(found[1]))
    assert values["host"] == "127.0.0.1" and values["port"] == 8000
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop and int(stop[1]) > values["drain_seconds"]


def test_the_container_starts_the_server() -> None:
    found = re.search(r"^CMD (\[.*\])$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert found
    values = parse(json.loads(found[1]))
    assert values["host"] == "0.0.0.0" and values["port"] == 8000
