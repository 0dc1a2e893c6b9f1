"""Commands about versions: judge, promote, go back, look back, compare, trace."""

from typing import Annotated, Any

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, fields_of
from copydesk.app._output import emit_json
from copydesk.app._progress import ProgressView
from copydesk.registry import GateResult

commands = typer.Typer()


@commands.command("eval")
def evaluate(
    version: Annotated[str, typer.Argument(metavar="CLIENT[@VERSION]")],
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Ask all gates about a version, by default a client's newest. Exit code 1 where one says no.

    Thresholds are set in [gates] of copydesk.toml. What they say is recorded for promote.

    Example: copydesk eval acme@3
    """
    from copydesk.app._registry_tables import show_evaluation

    with desk.open_workspace(workspace) as opened, ProgressView() as view:
        found = opened.evaluate(version, listener=view)
    if as_json:
        emit_json(
            {
                "version": found.version,
                "passed": found.evaluation.passed,
                "against": found.evaluation.against,
                "at": found.evaluation.at,
                "gates": [_gate(gate) for gate in found.evaluation.gates],
                "losses": found.losses,
            }
        )
    else:
        show_evaluation(found)
    if not found.evaluation.passed:
        raise typer.Exit(1)


@commands.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="CLIENT@VERSION")],
    canary: Annotated[
        float | None,
        typer.Option(help="Try it on this share of the requests first, e.g. 0.1.", metavar="SHARE"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Pass its gates over; needs a reason.")
    ] = False,
    reason: Annotated[
        str, typer.Option(help="Why it is forced; it is recorded.", metavar="TEXT")
    ] = "",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Let a version speak for its client, once its gates have passed it. Exit code 1 if not.

    A canary ends by itself: it is stopped when it is proved to go wrong more often than the live
    version, and speaks for all when it has answered enough ([canary] in copydesk.toml).

    Example: copydesk promote acme@3 --canary 0.1
    """
    from copydesk.app._registry_tables import show_change

    with desk.open_workspace(workspace) as opened:
        done = opened.promote(version, force=force, reason=reason, canary=canary)
    if as_json:
        emit_json({"version": done.version, **fields_of(done)})
    else:
        show_change(done)


@commands.command()
def rollback(
    client: str,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.", metavar="TEXT")] = "",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Stop a client's canary, or let the version speak that spoke before.

    Example: copydesk rollback acme --reason "Readers complained."
    """
    from copydesk.app._registry_tables import show_change

    with desk.open_workspace(workspace) as opened:
        done = opened.rollback(client, reason=reason)
    if as_json:
        emit_json({"version": done.version, **fields_of(done)})
    else:
        show_change(done)


@commands.command()
def history(client: str, as_json: AsJson = False, workspace: InWorkspace = None) -> None:
    """Show a client's versions, what speaks, and every change of it, by whom and why.

    Example: copydesk history acme
    """
    from copydesk.app._registry_tables import show_history

    with desk.open_workspace(workspace) as opened:
        found = opened.history(client)
    if as_json:
        changes = [{"version": item.version, **fields_of(item)} for item in found.changes]
        emit_json({**fields_of(found), "stale": found.stale, "changes": changes})
    else:
        show_history(found)


@commands.command()
def diff(
    one: Annotated[str, typer.Argument(metavar="CLIENT@A")],
    other: Annotated[str, typer.Argument(metavar="CLIENT@B")],
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Show two versions side by side: data, settings, scores, gates, sample drafts.

    Example: copydesk diff acme@2 acme@3
    """
    from copydesk.app._registry_tables import show_diff

    with desk.open_workspace(workspace) as opened:
        found = opened.diff(one, other)
    if as_json:
        emit_json(fields_of(found))
    else:
        show_diff(found)


@commands.command()
def lineage(
    what: Annotated[str, typer.Argument(metavar="DRAFT|CLIENT[@VERSION]")],
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Show where a draft or version comes from: run, base, dataset, pages, rights to train.

    Example: copydesk lineage clients/acme/drafts/0001-spring-bulbs.md
    """
    from copydesk.app._registry_tables import show_lineage

    with desk.open_workspace(workspace) as opened:
        found = opened.lineage(what)
    if as_json:
        emit_json(fields_of(found))
    else:
        show_lineage(found)


def _gate(gate: GateResult) -> dict[str, Any]:
    return {**fields_of(gate), "passed": gate.passed}
