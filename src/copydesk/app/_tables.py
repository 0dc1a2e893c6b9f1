"""Tables and findings for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from copydesk.app._output import duration, out, size
from copydesk.desk import Curation, Training, Written
from copydesk.records import Finding

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}
_SHOWN_REJECTIONS = 20
_SPLITS = {"time": "the newest", "seed": "drawn by the seed"}


def show_curation(result: Curation) -> None:
    """What was kept, what was not, and why."""
    kind = "pages" if set(result.forms) <= {"page"} else "examples"
    out.print(
        f"{result.client}: kept {result.kept} {kind}, {result.train} to train on and "
        f"{result.heldout} held out, {_SPLITS[result.split]} (dataset {result.dataset})"
    )
    if kind != "pages":
        counts = ", ".join(f"{count} {form}" for form, count in result.forms.items())
        out.print(f"Forms: {counts}.")
    if not result.rejected:
        return
    out.print(f"{len(result.rejected)} rejected:")
    for item in result.rejected[:_SHOWN_REJECTIONS]:
        place = item.source if item.line is None else f"{item.source}:{item.line}"
        out.print(f"  {place}  {item.rule}: {item.reason}", markup=False, soft_wrap=True)
    if len(result.rejected) > _SHOWN_REJECTIONS:
        out.print(f"  and {len(result.rejected) - _SHOWN_REJECTIONS} more: {result.path}")


def show_training(result: Training) -> None:
    """A line a client."""
    table = Table(box=None, pad_edge=False)
    for column in ("version", "method", "held-out loss", "before", "time", "tokens/s", "memory"):
        table.add_column(column, justify="left" if column in {"version", "method"} else "right")
    for item in result.versions:
        table.add_row(
            item.version,
            item.method,
            f"{item.heldout_loss:.3f}",
            f"{item.heldout_loss_before:.3f}",
            duration(item.train_seconds),
            f"{item.tokens_per_second:.0f}",
            size(item.peak_memory_bytes),
        )
    if result.versions:
        out.print(table)
    for item in result.versions:
        if item.resumed_at:
            out.print(f"{item.version} went on from the checkpoint at step {item.resumed_at}.")
        if item.kept_step != item.steps:
            out.print(
                f"{item.version} has the weights of step {item.kept_step}, where the held-out loss "
                f"was lowest; training ended at step {item.steps}."
            )
        fates = {
            "lost their end": item.cut_examples,
            "were split": item.split_examples,
            "were left out": item.dropped_examples,
        }
        said = ", ".join(f"{count} {fate}" for fate, count in fates.items() if count)
        if said:
            out.print(
                f"{item.version}: of the examples over max_length {said}; "
                "raise it with --set max_length=2048."
            )


def show_written(item: Written) -> None:
    """Where the draft lies and what the checks say."""
    out.print(f"\n{item.draft.version} wrote {item.path}", markup=False, soft_wrap=True)
    show_findings(item.draft.text, item.draft.findings)


def show_findings(text: str, findings: Sequence[Finding]) -> None:
    """A line a finding, with the words it is about."""
    if not findings:
        out.print("[green]no findings[/]")
    for finding in findings:
        colour = _COLOURS[finding.severity]
        quoted = text[finding.start : finding.end].replace("\n", " ")
        where = f' at {finding.start}: "{_shorten(quoted)}"' if quoted else ""
        out.print(f"[{colour}]{finding.severity}[/] {finding.family}/{finding.rule}", end="")
        out.print(f"{where}  {finding.message} ({finding.source})", markup=False, soft_wrap=True)


def _shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
