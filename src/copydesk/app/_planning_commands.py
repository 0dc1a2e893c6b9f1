"""The command that predicts, and how its figures are shown."""

from typing import Annotated, Any

import typer
from rich.table import Table

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, Settings, fields_of, pairs
from copydesk.app._output import duration, emit_json, method_word, out, parse_size, size
from copydesk.app._progress import ProgressView
from copydesk.errors import InvalidInput
from copydesk.records import Choice, Latency, Plan

commands = typer.Typer()

_PAGE_WORDS = "pages x tokens of a page, as in 300x800"


@commands.command()
def plan(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A shape card such as llama-3.1-70b, a folder or config.json, a base, or a "
            "Hugging Face id; by default the workspace's base."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="full, lora, dora, qlora, prefix, prompt or bottleneck.")
    ] = "lora",
    hardware: Annotated[
        str,
        typer.Option(help="A card, with a count: h100x8; a .toml file; or this, measured once."),
    ] = desk.DEFAULT_HARDWARE,
    settings: Settings = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of an epoch; a million by default.", min=1)
    ] = None,
    pages: Annotated[
        str | None, typer.Option("--pages-tokens", help=f"The same as {_PAGE_WORDS}.")
    ] = None,
    choose: Annotated[
        bool,
        typer.Option(
            "--choose",
            help="Choose the method for a client, named instead of a model, or for all that have "
            "pages; say why, and plan it.",
        ),
    ] = False,
    budget: Annotated[
        float | None, typer.Option(help="With --choose: minutes there are for training.", min=0)
    ] = None,
    budget_usd: Annotated[
        float | None, typer.Option(help="With --choose: dollars there are for it.", min=0)
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="With --choose: the most to take, e.g. 8GB.")
    ] = None,
    latency: Annotated[
        str, typer.Option(help="With --choose: any, or lowest: as fast as the plain base.")
    ] = "any",
    updates: Annotated[
        float | None, typer.Option(help="With --choose: trainings a month.", min=0)
    ] = None,
    claims: Annotated[
        bool,
        typer.Option("--claims", help="Hold a published table on tuning 70B against arithmetic."),
    ] = False,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Predict parameters, memory, time and cost of a run before it is run.

    Example: copydesk plan llama-3.1-70b --method qlora --hardware h100x2 --set lora_r=8
    Example: copydesk plan --choose acme --budget 30
    """
    if claims:
        _show_claims(as_json=as_json)
        return
    if choose:
        with desk.open_workspace(workspace) as opened:
            wishes = desk.Wishes(
                settings=pairs(settings or [], "--set"),
                memory=parse_size(memory) if memory else None,
                budget_seconds=None if budget is None else 60 * budget,
                budget_usd=budget_usd,
                latency=_latency(latency),
                updates_month=updates,
                hardware=hardware,
            )
            with ProgressView() as view:
                choice = opened.choose(None if model is None else [model], wishes, listener=view)
        _show_chosen(choice, as_json=as_json)
        return
    options: dict[str, Any] = {
        "method": method,
        "hardware": hardware,
        "settings": pairs(settings or [], "--set"),
        "epoch_tokens": _epoch_tokens(tokens, pages),
    }
    with ProgressView() as view:
        if workspace is not None or desk.find_workspace() is not None:
            with desk.open_workspace(workspace) as opened:
                found = opened.plan(model, **options, listener=view)
        else:
            found = desk.plan_run(model, **options, listener=view)
    if as_json:
        emit_json(fields_of(found))
    else:
        show_plan(found)


def _latency(text: str) -> Latency:
    match text:
        case "any" | "lowest":
            return text
        case _:
            raise InvalidInput(f"--latency {text!r} is not known", todo="Give any or lowest.")


def _show_chosen(choice: Choice, *, as_json: bool) -> None:
    assert choice.plan is not None, "it was chosen for hardware"
    if as_json:
        fields = {name: value for name, value in fields_of(choice).items() if name != "plan"}
        emit_json({**fields_of(choice.plan), "choice": fields})
        return
    label, second = method_word(choice.method), method_word(choice.runner_up)
    out.print(f"[bold]{label} was chosen[/], because:")
    for reason in choice.reasons:
        out.print(f"- {reason.text} ({reason.source})", markup=False, soft_wrap=True)
    if second:
        found = "It would be so if:" if choice.would_change else "Nothing tried would make it that."
        out.print(f"[bold]Second choice: {second}.[/] {found}")
    for change in choice.would_change:
        out.print(f"- {change}", markup=False, soft_wrap=True)
    out.print("")
    show_plan(choice.plan)


def _epoch_tokens(tokens: int | None, pages: str | None) -> int | None:
    if pages is None:
        return tokens
    count, cross, each = pages.partition("x")
    if tokens is not None or not (cross and count.isdecimal() and each.isdecimal()):
        wrong = "is given beside --tokens" if tokens is not None else f"{pages!r} is no product"
        raise InvalidInput(f"--pages-tokens {wrong}", todo=f"Give {_PAGE_WORDS}.")
    product = int(count) * int(each)
    if not product:
        raise InvalidInput(f"--pages-tokens {pages!r} is nothing", todo=f"Give {_PAGE_WORDS}.")
    return product


def show_plan(found: Plan) -> None:
    """A plan for a person: what it takes, by part, and what it rests on."""
    share = found.trainable_parameters / found.total_parameters
    out.print(
        f"{found.method} of {found.model} on {found.hardware}: "
        f"{found.trainable_parameters:,} of {found.total_parameters:,} parameters are trained "
        f"({share:.2%})",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in fields_of(found.memory).items():
        table.add_row(name, size(value))
    table.add_row("peak memory", size(found.peak_memory_bytes), style="bold")
    table.add_row("a device has", size(found.device_memory_bytes))
    out.print(table)
    largest = found.largest_batch_tokens
    if found.fits:
        out.print(f"It fits; {largest or 0:,} tokens can be run at once.")
    out.print(
        f"An epoch of {found.epoch_tokens:,} tokens: {_hours(found.epoch_seconds)}. "
        f"Cost of the run: {_usd(found.cost_usd)}. "
        f"It leaves {size(found.artifact_bytes)}; a checkpoint is {size(found.checkpoint_bytes)}.",
        soft_wrap=True,
    )
    for note in found.notes:
        out.print(f"- {note}", markup=False, soft_wrap=True)


def _show_claims(*, as_json: bool) -> None:
    table = desk.published_claims()
    if as_json:
        emit_json(fields_of(table))
        return
    out.print(f"A published table for a 70B model, beside {table.model}.", soft_wrap=True)
    metric = ""
    for cell in table.cells:
        if cell.metric != metric:
            metric = cell.metric
            out.print(f"\n[bold]{metric}[/], {cell.unit}")
        ours = "-" if cell.ours is None else f"{cell.ours:,.1f}"
        out.print(
            f"  {cell.method:6} says {cell.claimed:>8,g}   ours {ours:>10}   {cell.judgement}"
        )
        out.print(f"         {cell.reason}", markup=False, soft_wrap=True)
    out.print("")
    for assumption in table.assumptions:
        out.print(f"- {assumption}", markup=False, soft_wrap=True)


def _hours(seconds: float | None) -> str:
    if seconds is None or seconds < 7200:
        return duration(seconds)
    return f"{seconds / 3600:.1f} hours"


def _usd(cost: float | None) -> str:
    if cost is None:
        return "unknown, the hardware has no price"
    return "under $0.01" if 0 < cost < 0.005 else f"${cost:,.2f}"
