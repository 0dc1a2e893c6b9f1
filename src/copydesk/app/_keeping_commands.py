"""Commands that keep a workspace sound: the doctor."""

from typing import Annotated

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace
from copydesk.app._output import emit_json, out
from copydesk.errors import UnknownName

commands = typer.Typer()


@commands.command()
def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what is safe, e.g. rebuild a lost catalogue.")
    ] = False,
    sign: Annotated[
        bool,
        typer.Option("--sign", help="Sign what is from before manifests were, if it is whole."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Check manifests and signatures, not every file.")
    ] = False,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Check everything in a workspace, and say what is wrong and what to do.

    Exits with 1 where something is wrong that was not repaired.

    Example: copydesk doctor --repair
    """
    root = desk.find_workspace(workspace)
    if root is None:
        raise UnknownName("There is no workspace here", todo="Name one with --workspace DIR.")
    found = desk.examine(root.resolve(), repair=repair, sign=sign, files=not quick)
    if as_json:
        emit_json(
            {
                "workspace": found.workspace,
                "healthy": found.healthy,
                "fingerprint": found.fingerprint,
                "artifacts": found.artifacts,
                "found": found.found,
            }
        )
    else:
        _show(found)
    if not found.healthy:
        raise typer.Exit(1)


def _show(found: desk.Examination) -> None:
    for item in found.found:
        word = "repaired" if item.repaired else item.severity
        out.print(f"{word}: {item.what}", markup=False, soft_wrap=True)
        out.print(f"  {item.where}", markup=False, soft_wrap=True)
        out.print(f"  {item.todo}", markup=False, soft_wrap=True)
    state = "Sound" if found.healthy else "Not sound"
    out.print(f"{state}: {found.artifacts} artifacts in {found.workspace}", soft_wrap=True)
    if found.fingerprint is not None:
        out.print(f"This workspace signs as {found.fingerprint}")
