"""Commands that train, measure and predict."""

from pathlib import Path
from typing import Annotated

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, Settings, exit_code, fields_of, pairs
from copydesk.app._output import emit_json, out, parse_duration, parse_size, show_error
from copydesk.app._progress import ProgressView, StopRequest
from copydesk.errors import InvalidInput

commands = typer.Typer()


@commands.command()
def train(
    clients: Annotated[list[str] | None, typer.Argument(metavar="[CLIENT]...")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every client that has pages.")] = False,
    stale: Annotated[
        bool,
        typer.Option(
            help="Only adapters of an earlier base; replaced all at once when each is better "
            "than the new base on its held-out pages."
        ),
    ] = False,
    method: Annotated[
        str, typer.Option(help="auto, full, lora, dora, qlora, prefix, prompt or bottleneck.")
    ] = "auto",
    recipe: Annotated[
        Path | None,
        typer.Option(help="TOML with method and settings; --set overrides it.", metavar="FILE"),
    ] = None,
    settings: Settings = None,
    memory: Annotated[
        str | None,
        typer.Option(help="The most to take, e.g. 8GB; clients that do not fit wait."),
    ] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Train a version for each client, several in one pass. What was cut off goes on.

    Example: copydesk train acme birch --method lora --set lora_r=16 --set epochs=2
    """
    from copydesk.app._tables import show_training

    if bool(clients) == every:
        wrong = "--all is every client, and some are named" if every else "No client is named"
        raise InvalidInput(wrong, todo="Name clients, or use --all.")
    stop = StopRequest()
    chosen = desk.read_recipe(recipe) if recipe else {}
    chosen |= pairs(settings or [], "--set")
    with (
        desk.open_workspace(workspace) as opened,
        stop.listening(),
        ProgressView() as view,
    ):
        result = opened.train(
            None if every else clients,
            method=method,
            settings=chosen,
            stale=stale,
            memory=parse_size(memory) if memory else None,
            listener=view,
            should_stop=stop,
        )
    if as_json:
        emit_json(fields_of(result))
    else:
        show_training(result)
    for failed in result.failed:
        show_error(failed.error, as_json=False)
    if result.failed:
        raise typer.Exit(exit_code(result.failed[0].error))


@commands.command()
def compare(
    clients: Annotated[list[str], typer.Argument(metavar="CLIENT...")],
    methods: Annotated[str, typer.Option(help="Comma-separated.")] = "lora,full",
    settings: Settings = None,
    csv: Annotated[
        Path | None, typer.Option(help="Also write the exact figures there.", metavar="FILE")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write verdict and table there.", metavar="FILE")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time it may take, e.g. 20m; a method that it ends says so."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Final runs of each method, by as many seeds.")
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option(
            help="Look for each method's learning rate first; --budget and --seeds do too."
        ),
    ] = False,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Try instructions and time generation; by default where rates are looked for.",
        ),
    ] = None,
    table: Annotated[
        bool, typer.Option(help="Also say low, medium or high, with the figures behind it.")
    ] = False,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Measure tuning methods on held-out pages, beside the base untuned and prompted.

    Several clients are pooled. What was measured before is not measured again, and what was cut off
    goes on.

    Example: copydesk compare acme --methods full,lora,qlora --budget 20m
    """
    from copydesk.app._comparison_files import check_targets, write_files
    from copydesk.app._comparison_tables import show_comparison
    from copydesk.app._reporting import write_report

    check_targets(csv, markdown)
    stop = StopRequest()
    names = [name.strip() for name in methods.split(",") if name.strip()]
    chosen = pairs(settings or [], "--set")
    seconds = parse_duration(budget) if budget else None
    with desk.open_workspace(workspace) as opened:
        with stop.listening(), ProgressView() as view:
            result = opened.compare(
                clients,
                methods=names,
                settings=chosen,
                budget_seconds=seconds,
                seeds=seeds,
                sweep=sweep,
                probe=probe,
                listener=view,
                should_stop=stop,
            )
        report = write_report(opened)
    files = write_files(result, csv=csv, markdown=markdown)
    if as_json:
        from copydesk.study import qualitative

        judged = [fields_of(item) for item in qualitative(result)]
        emit_json({**fields_of(result), "qualitative": judged, "report": report})
    else:
        show_comparison(result, qualities=table)
        for path in files:
            out.print(f"Written: {path}", soft_wrap=True)
        out.print(f"Report: {report}", soft_wrap=True)
