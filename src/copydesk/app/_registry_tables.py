"""Versions, their gates, changes and origins for the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from copydesk.app._output import method_word, out
from copydesk.desk import ClientHistory, Evaluated, Pair, VersionDiff
from copydesk.records import Lineage
from copydesk.registry import Canary, Promotion

_PAGES_SHOWN = 30
_CHANGES = {
    "promote": "{version} speaks now.",
    "rollback": "Back to {version}, which speaks now.",
    "canary": "{version} answers {share:.0%} of the requests; {previous} the others.",
    "canary-finished": "{version} speaks now: its canary is over.",
    "canary-stopped": "The canary of {version} was stopped; {previous} speaks.",
}


def show_evaluation(found: Evaluated) -> None:
    """A line a gate, and what to do next."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("gate", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("wanted", justify="right", no_wrap=True)
    table.add_column("what was measured")
    for gate in found.evaluation.gates:
        said = "[green]passed[/]" if gate.passed else "[red]no[/]"
        wanted = f"at {gate.bound} {gate.threshold:g}"
        table.add_row(said, gate.name, f"{gate.value:.4g}", wanted, _plain(gate.detail))
    out.print(table)
    version = found.version
    if found.evaluation.passed:
        out.print(f"{version} passed. Next: copydesk promote {version}")
    else:
        failed = [gate.name for gate in found.evaluation.gates if not gate.passed]
        out.print(f"[red]{version} did not pass:[/] {', '.join(failed)}")


def show_change(change: Promotion) -> None:
    """What a promotion or rollback did."""
    out.print(_said(change), markup=False, soft_wrap=True)
    if change.forced:
        out.print(f"Its gates were passed over: {change.reason}", markup=False, soft_wrap=True)


def show_history(found: ClientHistory) -> None:
    """Versions, the canary, the changes."""
    if not found.versions:
        out.print(f"{found.client} has no version yet. Next: copydesk train {found.client}")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "made", "method", "base"):
        table.add_column(column, no_wrap=True)
    table.add_column("gates")
    for column in ("requests", "findings", "errors"):
        table.add_column(column, justify="right", no_wrap=True)
    for item in found.versions:
        name = f"{item.version} [green]speaks[/]" if item.live else item.version
        ended = item.outcomes
        figures = (ended.requests, ended.findings, ended.errors)
        table.add_row(
            name,
            item.made[:10],
            method_word(item.method),
            _plain(item.base) + (" [yellow]stale[/]" if item.stale else ""),
            _plain(item.gates) + (" [red]withdrawn[/]" if item.withdrawn else ""),
            *(str(count) if ended.requests else "-" for count in figures),
        )
    out.print(table)
    if not found.promoted:
        out.print("Nothing was promoted: the newest version speaks.", style="dim")
    if found.canary:
        _show_canary(found.canary)
    for change in found.changes:
        why = f" {change.reason}" if change.reason else ""
        forced = " (forced)" if change.forced else ""
        when = change.at[:16].replace("T", " ")
        out.print(f"{when} {change.by}{forced}: {_said(change)}{why}", markup=False, soft_wrap=True)
    _show_marks(found)
    if found.stale:
        out.print(
            "[yellow]Stale[/] versions are bound to another base than the workspace's. All such "
            "clients are trained anew in one pass by: copydesk train --all --stale"
        )


def _show_marks(found: ClientHistory) -> None:
    if not found.marks:
        return
    names = ", ".join(dict.fromkeys(f"{mark.kind} {mark.name}" for mark in found.marks))
    out.print(
        f"[red]Withdrawn[/] pages were learned by, or are in: {_plain(names)}. Curate anew and "
        "train to be rid of them.",
        soft_wrap=True,
    )


def show_diff(found: VersionDiff) -> None:
    """What differs, what was measured, what both wrote."""
    pages = found.pages
    if pages is None:
        out.print("Pages: a dataset is not in the catalogue any more.")
    else:
        out.print(
            f"Pages: {pages.shared} the same, {len(pages.added)} added, {len(pages.removed)} "
            f"removed, {len(pages.changed)} changed."
        )
        for sign, names in (("+", pages.added), ("-", pages.removed), ("~", pages.changed)):
            for name in names[:_PAGES_SHOWN]:
                out.print(f"  {sign} {name}", markup=False, soft_wrap=True)
    heads = ("", found.one, found.other)
    _show_pairs(heads, [*found.inputs, *found.settings], "Same inputs and settings.")
    _show_pairs(heads, [*found.scores, *found.gates], "")
    for draft in found.drafts:
        table = Table(title=_plain(draft.brief), expand=True)
        for name in heads[1:]:
            table.add_column(name, ratio=1)
        table.add_row(*(_plain(text or "(nothing)") for text in (draft.one, draft.other)))
        out.print(table)
    if found.todo:
        out.print(found.todo, style="dim", soft_wrap=True)


def show_lineage(found: Lineage) -> None:
    """Step by step from the draft to the pages."""
    if found.draft:
        out.print(f"draft     {found.draft}", markup=False, soft_wrap=True)
    speaks = ", speaks now" if found.live else ""
    gates = f"gates: {found.evaluated}" if found.evaluated else "gates: never asked"
    base = f"{found.base.name} {found.base.digest[:12]}"
    if found.base.parent:
        rights = ", ".join(f"{count} {right}" for right, count in found.base.rights.items())
        base += f", tuned from {found.base.parent} on pages by right: {rights}"
    if found.base.withdrawn:
        base += ", which learned from pages that were withdrawn since"
    rights = ", ".join(f"{count} {right}" for right, count in found.rights.items())
    dataset = found.dataset or "not in the catalogue any more"
    lines = {
        "version": f"{found.version} {found.digest[:12]}, made {found.made}{speaks}; {gates}",
        "run": f"{found.run[:12]}, {method_word(found.method)}",
        "base": base,
        "dataset": f"{dataset} {found.dataset_digest[:12]}: {len(found.pages)} pages trained on, "
        f"{found.heldout} held out",
        "rights": rights or "-",
    }
    if found.withdrawn:
        lines["withdrawn"] = f"{found.withdrawn} of the pages, by their owners, since"
    for name, said in lines.items():
        out.print(f"{name:9} {said}", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("page", "date", "right", "source", "retrieved", ""):
        table.add_column(column, overflow="fold")
    for page in found.pages[:_PAGES_SHOWN]:
        cells = (page.id, page.date, page.right, page.url or page.source, page.retrieved)
        style = "red" if page.withdrawn else None
        table.add_row(
            *(_plain(cell or "-") for cell in cells), "withdrawn" if page.withdrawn else "",
            style=style,
        )  # fmt: skip
    out.print(table)
    if len(found.pages) > _PAGES_SHOWN:
        out.print(f"and {len(found.pages) - _PAGES_SHOWN} more; --json lists all", style="dim")


def _show_canary(canary: Canary) -> None:
    def said(name: int, figures: Any) -> str:
        return (
            f"{canary.client}@{name} {figures.findings} findings and {figures.errors} errors in "
            f"{figures.requests}"
        )

    out.print(
        f"Canary: {said(canary.number, canary.candidate)} of {canary.rules.requests} requests, "
        f"{said(canary.previous, canary.live)}.",
        soft_wrap=True,
    )


def _show_pairs(heads: Sequence[str], pairs: Iterable[Pair], none: str) -> None:
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for pair in pairs:
        table.add_row(_plain(pair.name), *(_cell(value) for value in (pair.one, pair.other)))
    if table.row_count:
        out.print(table)
    elif none:
        out.print(none)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return _plain(text if len(text) <= 40 else text[:12])


def _said(change: Promotion) -> str:
    previous = f"{change.client}@{change.previous}" if change.previous is not None else "it"
    return _CHANGES[change.action].format(
        version=change.version, previous=previous, share=change.share or 0.0
    )


def _plain(text: str) -> str:
    """Text whose square brackets are no markup."""
    return text.replace("[", "\\[")
