"""Commands that keep a workspace sound, and bring in what was made elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, fields_of
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


@commands.command("import")
def import_(
    bundle: Annotated[Path, typer.Argument(metavar="FILE")],
    client: Annotated[
        str | None, typer.Option(help="Whose version it becomes; else as the bundle says.")
    ] = None,
    trust: Annotated[
        str | None, typer.Option(help="Fingerprint of the key that it may be signed by.")
    ] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Import a version from another workspace's bundle, once all of it is verified.

    Signature, hashes, base, shapes and numbers are checked before it is listed.

    Example: copydesk import acme-2.bundle --trust 630dcd2966c4336691125448bbb25b4f
    """
    with desk.open_workspace(workspace) as opened:
        made = opened.import_version(bundle, client=client, trust=trust)
    if as_json:
        emit_json(fields_of(made))
    else:
        out.print(f"Imported {made.origin} as {made.version}, signed by {made.signer}.")


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
