"""Tables and findings for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from copydesk.app._output import duration, method_word, out, size
from copydesk.desk import Curation, Foundation, Training, Written
from copydesk.records import Choice, Finding

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
    table = Table(box=None, pad_edge=False)
    table.add_column("step")
    for column in ("pages", "rejected", "changed", "flagged"):
        table.add_column(column, justify="right")
    for step in result.funnel:
        counts = (step.pages, step.rejected, step.changed, step.flagged)
        table.add_row(step.step, *(str(count) if count else "-" for count in counts))
    out.print(table)
    out.print(f"Card: {result.path / 'card.html'}", soft_wrap=True)
    if not result.rejected:
        return
    out.print(f"{len(result.rejected)} rejected (--keep ID takes one all the same):")
    for item in result.rejected[:_SHOWN_REJECTIONS]:
        place = item.source if item.line is None else f"{item.source}:{item.line}"
        name = f" [{item.id}]" if item.id else ""
        out.print(f"  {place}{name}  {item.rule}: {item.reason}", markup=False, soft_wrap=True)
    if len(result.rejected) > _SHOWN_REJECTIONS:
        out.print(f"  and {len(result.rejected) - _SHOWN_REJECTIONS} more: {result.path}")


def show_choice(choice: Choice) -> None:
    """Why a method was chosen, in two lines."""
    label = method_word(choice.method)
    why = choice.reasons[0].text if choice.reasons else ""
    second = method_word(choice.runner_up)
    out.print(f"{label} was chosen. {why}", markup=False, soft_wrap=True)
    rest = choice.would_change[:1]
    turned = f"Second choice: {second}." if second else ""
    turned = f"It would be {second} if: {rest[0]}" if rest else turned
    out.print(turned, style="dim", markup=False, soft_wrap=True)


def show_training(result: Training) -> None:
    """A line a client, after the reasons of the method where it was chosen."""
    if result.choice:
        show_choice(result.choice)
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


def show_foundation(result: Foundation) -> None:
    """What it learned and forgot, its gates, and what to do next."""
    rights = ", ".join(f"{count} {right}" for right, count in result.rights.items())
    out.print(
        f"Trained {result.parent} on {result.pages} pages ({rights}); general chats were "
        f"{result.mix:.0%} of the tokens. {duration(result.train_seconds)}, "
        f"{size(result.peak_memory_bytes)}.",
        markup=False,
    )
    for gate in result.gates:
        said = "[green]passed[/]" if gate.passed else "[red]failed[/]"
        out.print(f"{said} {gate.name}: {gate.value:.3f}, at most {gate.threshold:.3f}")
    if result.registered:
        out.print(f"Made {result.name} at {result.path}", markup=False, soft_wrap=True)
        out.print(
            f'Next: base = "{result.name}" in copydesk.toml, then copydesk train --all --stale'
        )
    else:
        out.print("Nothing was kept. Raise --mix, or lower learning_rate or epochs with --set.")


def show_written(item: Written) -> None:
    """Where the draft lies and what the checks say."""
    out.print(f"\n{item.draft.version} wrote {item.path}", markup=False, soft_wrap=True)
    if item.draft.chosen:
        out.print(item.draft.chosen, markup=False, style="dim")
    show_findings(item.draft.text, item.draft.findings)


def show_findings(text: str, findings: Sequence[Finding]) -> None:
    """A line a finding, with the words it is about."""
    if not findings:
        out.print("[green]no findings[/]")
    for finding in findings:
        colour = _COLOURS[finding.severity]
        quoted = text[finding.start : finding.end].replace("\n", " ")
        where = f' at {finding.start}: "{_shorten(quoted)}"' if quoted else ""
        mark = "waived" if finding.waived else finding.severity
        said = f"{finding.message} ({finding.source}{', ' + finding.date if finding.date else ''})"
        if finding.waived:
            said = f"{said} Waived: {finding.waived}"
        out.print(f"[{'dim' if finding.waived else colour}]{mark}[/] ", end="")
        out.print(f"{finding.family}/{finding.rule}", end="", markup=False)
        out.print(f"{where}  {said}", markup=False, soft_wrap=True)


def _shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
