"""The command line: parse, call one method of the workspace, show what it returned."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from copydesk import desk
from copydesk.app._output import emit_json, err, out, parse_size, show_error, size
from copydesk.app._progress import ProgressView, StopRequest
from copydesk.errors import CopydeskError, InvalidInput, OutOfMemory
from copydesk.records import Brief

app = typer.Typer(
    name="copydesk",
    help="One base language model, every client's voice: tune, compare, write and check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
base_app = typer.Typer(help="Base models.", no_args_is_help=True)
client_app = typer.Typer(help="Clients.", no_args_is_help=True)
app.add_typer(base_app, name="base")
app.add_typer(client_app, name="client")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
InWorkspace = Annotated[
    Path | None,
    typer.Option("--workspace", help="The workspace; by default the nearest one upward."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting as key=value, e.g. lora_r=8. Repeatable."),
]
_STOPPED = 130
_UsageError: Any = typer.BadParameter.__bases__[0]
"""What typer raises of a wrong command line: from click, or from the click inside newer typers."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a workspace.

    Example: copydesk init agency
    """
    with desk.init(folder) as workspace:
        if as_json:
            emit_json({"workspace": workspace.root})
        else:
            out.print(f"Made {workspace.root}. Next: copydesk client add NAME", soft_wrap=True)


@base_app.command("pull")
def base_pull(
    ref: Annotated[str | None, typer.Argument(metavar="[smollm2-135m | HF_ID | PATH]")] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Fetch a base into your cache, once; without a name the workspace's own.

    Example: copydesk base pull smollm2-135m
    """
    if ref is None:
        with desk.open_workspace(workspace) as opened:
            ref = opened.config.base
    with ProgressView() as view:
        info = desk.pull_base(ref, listener=view)
    if as_json:
        emit_json({"base": info})
    else:
        out.print(f"{info.name}: {size(info.bytes)} at {info.path}", soft_wrap=True)


@base_app.command("list")
def base_list(as_json: AsJson = False) -> None:
    """List the bases in your cache.

    Example: copydesk base list
    """
    bases = desk.list_bases()
    if as_json:
        emit_json({"bases": bases})
    for info in () if as_json else bases:
        out.print(f"{info.name}  {size(info.bytes)}  {info.digest[:12]}  {info.path}")
    if not bases and not as_json:
        out.print("No base yet. Fetch one with: copydesk base pull smollm2-135m")


@client_app.command("add")
def client_add(
    name: str,
    style_guide: Annotated[
        Path | None, typer.Option(help="TOML with voice, banned, prefer, length; or prose.")
    ] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Add a client.

    Example: copydesk client add acme --style-guide acme.toml
    """
    with desk.open_workspace(workspace) as opened:
        info = opened.add_client(name, style_guide)
    if as_json:
        emit_json({"client": info})
    else:
        out.print(f"Added {name}. Next: copydesk curate {name} FILE")


@client_app.command("list")
def client_list(as_json: AsJson = False, workspace: InWorkspace = None) -> None:
    """List clients.

    Example: copydesk client list
    """
    with desk.open_workspace(workspace) as opened:
        clients = opened.clients()
    if as_json:
        emit_json({"clients": clients})
    for info in () if as_json else clients:
        guide = "style guide" if info.style_guide else "no style guide"
        out.print(f"{info.name}  {info.documents} pages  {info.versions} versions  {guide}")


@client_app.command("delete")
def client_delete(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Delete a client: pages, adapters, comparisons and drafts.

    Example: copydesk client delete acme --yes
    """
    from copydesk.app._reporting import write_report

    with desk.open_workspace(workspace) as opened:
        opened.catalogue.client(name)
        question = f"Delete {name} and everything made from its pages?"
        if not yes and not typer.confirm(question, err=True):
            raise typer.Abort
        reported = opened.report_path.exists()
        opened.delete_client(name)
        if reported:
            write_report(opened)
    if as_json:
        emit_json({"deleted": name})
    else:
        out.print(f"Deleted {name}.")


@app.command()
def curate(
    client: str,
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...")],
    column: Annotated[
        list[str] | None,
        typer.Option(help="field=COLUMN of a CSV, e.g. title=Headline. Repeatable."),
    ] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Clean, deduplicate and split a client's pages: JSONL, JSON, CSV, Markdown files or folders.

    JSON may also hold ready-made examples, told apart record by record: messages, prompt and
    completion, Alpaca's instruction and output, ShareGPT's conversations, or text alone.

    Example: copydesk curate acme posts.jsonl blog/ --column title=Headline
    Example: copydesk curate acme chats.jsonl
    """
    from copydesk.app._tables import show_curation

    columns = {key: str(value) for key, value in _pairs(column or [], "--column").items()}
    with desk.open_workspace(workspace) as opened, ProgressView() as view:
        result = opened.curate(client, sources, columns=columns or None, listener=view)
    if as_json:
        emit_json(_fields(result))
    else:
        show_curation(result)


@app.command()
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
    chosen |= _pairs(settings or [], "--set")
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
        emit_json(_fields(result))
    else:
        show_training(result)
    for failed in result.failed:
        show_error(failed.error, as_json=False)
    if result.failed:
        raise typer.Exit(_exit_code(result.failed[0].error))


@app.command()
def compare(
    client: str,
    methods: Annotated[str, typer.Option(help="Comma-separated.")] = "lora,full",
    settings: Settings = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Measure tuning methods on held-out pages, beside the base untuned and prompted.

    Example: copydesk compare acme --methods lora,full
    """
    from copydesk.app._reporting import write_report
    from copydesk.app._tables import show_comparison

    stop = StopRequest()
    names = [name.strip() for name in methods.split(",") if name.strip()]
    chosen = _pairs(settings or [], "--set")
    with desk.open_workspace(workspace) as opened:
        with stop.listening(), ProgressView() as view:
            result = opened.compare(
                client, methods=names, settings=chosen, listener=view, should_stop=stop
            )
        report = write_report(opened)
    if as_json:
        emit_json({**_fields(result), "report": report})
    else:
        show_comparison(result)
        out.print(f"Report: {report}", soft_wrap=True)


@app.command()
def write(
    briefs: Annotated[list[Path] | None, typer.Argument(metavar="[BRIEF...]")] = None,
    client: Annotated[str, typer.Option(help="NAME or NAME@VERSION.", show_default=False)] = "",
    title: Annotated[str | None, typer.Option(help="In place of a brief file.")] = None,
    keyword: Annotated[str | None, typer.Option()] = None,
    format_: Annotated[str, typer.Option("--format")] = "blog",
    point: Annotated[list[str] | None, typer.Option(help="To cover. Repeatable.")] = None,
    length: Annotated[int | None, typer.Option(help="Wanted words.")] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0, max=2)] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 0.9,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Write a checked draft for each brief, by a client's newest version.

    Example: copydesk write brief.yaml --client acme
    Example: copydesk write --client acme --title "Spring bulbs" --keyword bulbs --length 150
    """
    from copydesk.app._reporting import write_report
    from copydesk.app._tables import show_written
    from copydesk.content import make_brief, read_brief

    if not client:
        raise InvalidInput("No client is named", todo="Add --client NAME.")
    wanted: list[Brief] = [read_brief(path) for path in briefs or []]
    if title is not None:
        wanted.append(
            make_brief(
                title=title, keyword=keyword, format=format_, points=point or (), length=length
            )
        )
    if not wanted:
        raise InvalidInput("There is nothing to write", todo="Name a brief file, or use --title.")
    with desk.open_workspace(workspace) as opened:
        written = opened.write(
            client,
            wanted,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            on_text=None if as_json else _say,
        )
        write_report(opened)
    if as_json:
        emit_json({"drafts": [{**_fields(item.draft), "path": item.path} for item in written]})
    for item in () if as_json else written:
        show_written(item)


@app.command()
def check(
    drafts: Annotated[list[Path], typer.Argument(metavar="DRAFT...")],
    client: Annotated[str, typer.Option(help="Whose style guide and pages to check against.")],
    brief: Annotated[Path | None, typer.Option(help="The brief that was to be met.")] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Check draft files. Exit code 1 when a finding is an error.

    Example: copydesk check draft.md --client acme
    """
    from copydesk.app._tables import show_findings
    from copydesk.content import read_brief, read_draft

    with desk.open_workspace(workspace) as opened:
        results = opened.check(client, drafts, brief=read_brief(brief) if brief else None)
    if as_json:
        emit_json({"drafts": results})
    for item in () if as_json else results:
        out.print(f"[bold]{item.path}[/]")
        show_findings(read_draft(item.path).text, item.findings)
    if any(finding.severity == "error" for item in results for finding in item.findings):
        raise typer.Exit(1)


@app.command()
def export(
    version: Annotated[str, typer.Argument(metavar="CLIENT@VERSION")],
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    to: Annotated[str, typer.Option(help="peft or merged.")] = "peft",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Copy a version out: its PEFT adapter, or merged into a base of its own.

    Example: copydesk export acme@2 --to merged acme-model
    """
    with desk.open_workspace(workspace) as opened:
        path = opened.export(version, to=to, folder=folder)
    if as_json:
        emit_json({"path": path})
    else:
        out.print(f"Wrote {path}", soft_wrap=True)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]")] = Path("copydesk-demo"),
    as_json: AsJson = False,
) -> None:
    """Run the main job on three invented clients; goes on where it was cut off.

    Example: copydesk demo
    """
    from copydesk.app._demo import run_demo

    if as_json:
        out.file = sys.stderr
    stop = StopRequest()
    with stop.listening(), ProgressView() as view:
        workspace, report = run_demo(folder, listener=view, should_stop=stop)
    if as_json:
        emit_json(
            {
                "workspace": workspace.root,
                "comparisons": workspace.comparisons(),
                "drafts": workspace.drafts(),
                "report": report,
            }
        )
    else:
        out.print(f"Open it in a browser: {report}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a check said no, 2 caller's mistake, 3 machine."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given
    # torch reads this at its first large allocation: huge pages where the system offers them.
    # A training step then takes a tenth of the page faults (benchmarks/train_vs_trl.py).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    sys.exit(_guarded(lambda: app(given, standalone_mode=False), as_json=as_json))


def _guarded(run: Callable[[], Any], *, as_json: bool) -> int:
    """Run a command; what it raises becomes a message and an exit code."""
    try:
        code = run()
    except CopydeskError as error:
        show_error(error, as_json=as_json)
        return _exit_code(error)
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


def _exit_code(error: CopydeskError) -> int:
    return 2 if error.fault == "caller" else 3


def _pairs(items: list[str], option: str) -> dict[str, Any]:
    """`key=value` options; a value with commas is a list."""
    pairs: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{option} {item!r} is not key=value")
        pairs[key] = tuple(value.split(",")) if "," in value else value
    return pairs


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _say(text: str) -> None:
    out.print(text, end="", markup=False, soft_wrap=True)
