"""Commands about workspaces, bases, clients and their pages."""

from pathlib import Path
from typing import Annotated

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, fields_of, pairs
from copydesk.app._output import emit_json, out, size
from copydesk.app._progress import ProgressView

commands = typer.Typer()
base_app = typer.Typer(help="Base models.", no_args_is_help=True)
client_app = typer.Typer(help="Clients.", no_args_is_help=True)
commands.add_typer(base_app, name="base")
commands.add_typer(client_app, name="client")


@commands.command()
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
        speaks = f"  {info.live} speaks" if info.live else ""
        stale = "  [yellow]stale[/]" if info.stale else ""
        out.print(
            f"{info.name}  {info.documents} pages  {info.versions} versions  {guide}{speaks}{stale}"
        )
    if not as_json and any(info.stale for info in clients):
        out.print(
            "Stale: bound to another base than the workspace's. Train all of them anew in one pass "
            "with: copydesk train --all --stale"
        )


@client_app.command("delete")
def client_delete(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Delete a client: pages, adapters, comparisons and drafts. A signed receipt stays.

    Example: copydesk client delete acme --yes
    """
    from copydesk.app._reporting import write_report

    with desk.open_workspace(workspace) as opened:
        if name not in opened.unfinished_deletions():
            opened.catalogue.client(name)
        question = f"Delete {name} and everything made from its pages?"
        if not yes and not typer.confirm(question, err=True):
            raise typer.Abort
        reported = opened.report_path.exists()
        receipt = opened.delete_client(name)
        if reported:
            write_report(opened)
    if as_json:
        emit_json({"deleted": name, "receipt": receipt})
        return
    out.print(f"Deleted {name}. Receipt: {receipt.path}", soft_wrap=True)
    for item in receipt.learned:
        out.print(f"  {item['kind']} {item['name']} learned from its pages and stays")
    for foundation in receipt.unknown:
        out.print(f"  foundation {foundation} may have: it is from before that was recorded")


@client_app.command("withdraw")
def client_withdraw(
    client: str,
    page: Annotated[str, typer.Argument(metavar="URL|HASH")],
    reason: Annotated[str, typer.Option(help="For the record.")] = "",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Record that a page's owner withdrew it, and list what learned from it.

    It is left out of datasets from now on. What learned from it stays until you train anew.

    Example: copydesk client withdraw acme https://acme.example/blog/kettles
    """
    with desk.open_workspace(workspace) as opened:
        result = opened.withdraw(client, page, reason=reason)
    if as_json:
        pages = [page.model_dump() for page in result.pages]
        emit_json({"client": client, "pages": pages, "marks": result.marks})
        return
    out.print(f"Withdrawn. {len(result.marks)} things learned from it or were measured on it:")
    for mark in result.marks:
        out.print(f"  {mark.kind} {mark.name}", soft_wrap=True)
    out.print(f"Next: copydesk curate {client} SOURCE, and train it anew.")


@commands.command()
def curate(
    client: str,
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...")],
    column: Annotated[
        list[str] | None,
        typer.Option(help="field=COLUMN of a CSV or XLSX, e.g. title=Headline. Repeatable."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Take the page of this id whatever the rules say. Repeatable."),
    ] = None,
    scrub_contacts: Annotated[
        bool, typer.Option(help="Replace e-mail addresses and numbers; secrets always are.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="For a large corpus of JSON lines: clean in so many processes."),
    ] = None,
    right: Annotated[
        str | None,
        typer.Option(
            help="By what right others may train on them: owned, licence:NAME, consent:NOTE."
        ),
    ] = None,
    max_pages: Annotated[int | None, typer.Option(help="Most pages of a site. [500]")] = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Crawl private and local addresses too.")
    ] = False,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Clean, deduplicate and split a client's pages: files, folders, or addresses of its site.

    Files: JSONL, JSON, CSV, XLSX, Markdown, HTML, DOCX, WordPress exports. JSON may also hold
    ready-made examples, told apart record by record: messages, prompt and completion, Alpaca's
    instruction and output, ShareGPT's conversations, or text alone.

    Addresses: a sitemap or feed, a site or section (it ends in a slash), or one page. A site is
    read slowly, as its robots.txt asks.

    Example: copydesk curate acme posts.jsonl blog/ --column title=Headline
    Example: copydesk curate acme https://acme.example/sitemap.xml --right owned
    """
    from copydesk.app._tables import show_curation

    columns = {key: str(value) for key, value in pairs(column or [], "--column").items()}
    web = desk.web_settings(max_pages=max_pages, allow_private=allow_private)
    with desk.open_workspace(workspace) as opened, ProgressView() as view:
        result = opened.curate(
            client,
            sources,
            columns=columns or None,
            keep=keep or (),
            contacts="scrub" if scrub_contacts else "flag",
            workers=workers,
            right=right,
            web=web,
            listener=view,
        )
    if as_json:
        emit_json(fields_of(result))
    else:
        show_curation(result)
