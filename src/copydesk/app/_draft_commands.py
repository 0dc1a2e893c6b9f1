"""Commands about drafts, what versions leave, and the demo."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, fields_of
from copydesk.app._output import emit_json, out
from copydesk.app._progress import ProgressView, StopRequest
from copydesk.errors import InvalidInput
from copydesk.records import Brief

commands = typer.Typer()


@commands.command()
def write(
    briefs: Annotated[list[Path] | None, typer.Argument(metavar="[BRIEF...]")] = None,
    client: Annotated[str, typer.Option(help="NAME or NAME@VERSION.", show_default=False)] = "",
    title: Annotated[str | None, typer.Option(help="In place of a brief file.")] = None,
    keyword: Annotated[str | None, typer.Option(help="The primary search phrase.")] = None,
    also_keyword: Annotated[list[str] | None, typer.Option(help="A secondary one.")] = None,
    intent: Annotated[str | None, typer.Option(help="What the searcher wants.")] = None,
    audience: Annotated[str | None, typer.Option()] = None,
    format_: Annotated[str, typer.Option("--format")] = "blog",
    point: Annotated[list[str] | None, typer.Option(help="To cover. Repeatable.")] = None,
    heading: Annotated[list[str] | None, typer.Option(help="Of the outline. Repeatable.")] = None,
    fact: Annotated[list[str] | None, typer.Option(help="'text | source'. Repeatable.")] = None,
    link: Annotated[list[str] | None, typer.Option(help="'address | words'. Repeatable.")] = None,
    call_to_action: Annotated[str | None, typer.Option()] = None,
    banned_claim: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    author: Annotated[str | None, typer.Option()] = None,
    length: Annotated[str | None, typer.Option(help="Wanted words: 150 or 120-180.")] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0, max=2)] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 0.9,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    candidates: Annotated[
        int, typer.Option(help="Written for each that is kept.", min=1, max=64)
    ] = 1,
    variants: Annotated[int, typer.Option(help="Kept for each brief.", min=1, max=64)] = 1,
    to: Annotated[str, typer.Option(help="md, html, docx, json or wxr.")] = "md",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Write a checked draft for each brief, by the version that speaks for a client.

    Example: copydesk write brief.yaml --client acme --candidates 4 --to html
    Example: copydesk write --client acme --title "Spring bulbs" --keyword bulbs --length 150
    """
    from copydesk.app._reporting import write_report
    from copydesk.app._tables import show_written
    from copydesk.content import make_brief, read_briefs

    if not client:
        raise InvalidInput("No client is named", todo="Add --client NAME.")
    wanted: list[Brief] = [brief for path in briefs or [] for brief in read_briefs(path)]
    if title is not None or (not briefs and keyword is not None):
        ranged = length is not None and not length.isdigit()
        wanted.append(
            make_brief(
                title=title, keyword=keyword, keywords=also_keyword, intent=intent,
                audience=audience, format=format_, points=point, outline=heading, facts=fact,
                links=link, call_to_action=call_to_action, banned_claims=banned_claim,
                author=author, length=None if ranged else length,
                length_range=length if ranged else None,
            )
        )  # fmt: skip
    if not wanted:
        raise InvalidInput("There is nothing to write", todo="Name a brief file, or use --title.")
    with desk.open_workspace(workspace) as opened:
        written = opened.write(
            client,
            wanted,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            candidates=candidates,
            variants=variants,
            to=to,
            on_text=None if as_json else _say,
        )
        write_report(opened)
    if as_json:
        emit_json({"drafts": [{**fields_of(item.draft), "path": item.path} for item in written]})
    for item in () if as_json else written:
        show_written(item)


@commands.command()
def check(
    drafts: Annotated[list[Path], typer.Argument(metavar="DRAFT...")],
    client: Annotated[str, typer.Option(help="Whose style guide and pages to check against.")],
    brief: Annotated[Path | None, typer.Option(help="The brief that was to be met.")] = None,
    waive: Annotated[
        list[str] | None, typer.Option(help="RULE=REASON: let it stand. Repeatable.")
    ] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Check draft files. Exit code 1 when a finding is an error that nobody waived.

    Example: copydesk check draft.md --client acme --waive "search/links=The template links."
    """
    from copydesk.app._tables import show_findings
    from copydesk.content import parse_waivers, read_brief, read_draft

    waivers = parse_waivers(waive or [])
    with desk.open_workspace(workspace) as opened:
        results = opened.check(
            client, drafts, brief=read_brief(brief) if brief else None, waivers=waivers
        )
    if as_json:
        emit_json({"drafts": results})
    for item in () if as_json else results:
        out.print(f"[bold]{item.path}[/]")
        show_findings(read_draft(item.path).text, item.findings)
    standing = [found for item in results for found in item.findings if found.waived is None]
    if any(finding.severity == "error" for finding in standing):
        raise typer.Exit(1)


@commands.command()
def export(
    version: Annotated[str, typer.Argument(metavar="CLIENT@VERSION")],
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    to: Annotated[str, typer.Option(help="peft, merged, gguf or bundle.")] = "peft",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Copy a version out: its PEFT adapter, merged into a base of its own, or as a signed bundle.

    Example: copydesk export acme@2 --to merged acme-model
    Example: copydesk export acme@2 --to bundle acme-2.bundle
    """
    with desk.open_workspace(workspace) as opened:
        left = opened.export_version(version, to=to, folder=folder)
    if as_json:
        measured = {
            "merge_difference": left.merge_difference,
            "gguf_difference": left.gguf_difference,
            "fingerprint": left.fingerprint,
        }
        emit_json({"path": left.path} | {k: v for k, v in measured.items() if v is not None})
        return
    out.print(f"Wrote {left.path}", soft_wrap=True)
    if left.merge_difference is not None:
        out.print(f"Merging moved the logits by {left.merge_difference:.1e} of their norm.")
    if left.gguf_difference is not None:
        out.print(f"Read back, its logits are {left.gguf_difference:.1e} of their norm apart.")
    if left.fingerprint is not None:
        out.print(f"Who imports it needs: --trust {left.fingerprint}")


@commands.command()
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


def _say(text: str) -> None:
    out.print(text, end="", markup=False, soft_wrap=True)
