"""A comparison for the terminal: what was measured, what it cost, and what that amounts to."""

from rich.table import Table

from copydesk.app._output import duration, method_word, out, size
from copydesk.records import Comparison, MethodRow


def show_comparison(result: Comparison, *, qualities: bool = False, advise: bool = True) -> None:
    """The table of methods and the verdict; fits into 80 columns.

    With `qualities`, and for several clients always, the qualitative table follows. With `advise`
    it says how figures can be predicted where none were.
    """
    table = Table(
        title=f"{result.client} on {result.base}", title_justify="left", box=None, pad_edge=False
    )
    table.add_column("method", no_wrap=True)
    for column in ("held-out loss", "% of full", "memory", "time", "disk", "forgot"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result.rows:
        table.add_row(*_cells(row))
    out.print(table)
    seeds = max((row.seeds for row in result.rows), default=1)
    over = f"pages and {seeds} seeds" if seeds > 1 else "pages"
    out.print(
        f"{result.heldout_documents} held-out pages, {result.heldout_tokens} tokens; in brackets "
        f"95% intervals over {over}. % of full: share of full fine-tuning's gain. Prompted: the "
        "base with guide and examples in its prompt. Forgot: loss on general text, after minus "
        "before.",
        style="dim",
    )
    for row in result.rows:
        if row.clients_in_pass > 1:
            out.print(
                f"{_label(row)}'s memory is that of a pass of {row.clients_in_pass} clients.",
                style="dim",
            )
    _show_predictions(result, advise)
    _show_sweeps(result)
    _show_speech(result)
    if qualities or len(result.clients) > 1:
        show_qualities(result)
    out.print(result.verdict, markup=False)
    if any(row.sweep_seconds for row in result.rows):
        of = f" of {duration(result.budget_seconds)}" if result.budget_seconds else ""
        out.print(
            f"All of it took {duration(result.spent_seconds)}{of}, sweeps and scoring included.",
            style="dim",
        )


def show_qualities(result: Comparison) -> None:
    """The qualitative table: a word a cell, with the figure behind it, and the thresholds."""
    from copydesk.study import THRESHOLDS, qualitative  # imports torch, which takes seconds

    judged = {(item.method, item.aspect): item for item in qualitative(result)}
    methods = list(dict.fromkeys(method for method, _ in judged))
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for row in result.rows:
        if row.method in methods:
            table.add_column(_label(row), justify="right", no_wrap=True)
    for aspect in THRESHOLDS:
        found = [judged[method, aspect] for method in methods]
        table.add_row(aspect, *(f"{item.word} ({item.said})" for item in found))
    out.print(table)
    legend = "; ".join(f"{aspect}: {limit.says}" for aspect, limit in THRESHOLDS.items())
    out.print(f"{legend}; above it, high.", style="dim", markup=False)


def _show_predictions(result: Comparison, advise: bool) -> None:
    """What the plan said beside what was measured, a line a method; or how to have it said."""
    told = [row for row in result.rows if row.predicted_epoch_seconds is not None]
    if not told:
        if advise:
            out.print(
                "Nothing was predicted, as this machine is not measured yet: copydesk plan does "
                "it.",
                style="dim",
            )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("predicted / measured", no_wrap=True)
    for column in ("memory", "an epoch"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in told:
        memory = row.predicted_peak_memory_bytes
        table.add_row(
            _label(row),
            f"{'-' if memory is None else size(memory)} / {size(row.peak_memory_bytes)}",
            f"{duration(row.predicted_epoch_seconds)} / {duration(row.epoch_seconds)}",
        )
    out.print(table)


def _show_sweeps(result: Comparison) -> None:
    """A line a method: the rates that were tried, what each gave, and the time it took."""
    for row in result.rows:
        if not row.swept:
            continue
        tried = ", ".join(
            f"{rate.learning_rate:.1e}: {'diverged' if rate.loss is None else f'{rate.loss:.3f}'}"
            for rate in row.swept
        )
        out.print(
            f"{_label(row)} learns at {row.learning_rate:.1e}, of {tried} "
            f"(tried in {duration(row.sweep_seconds)}).",
            style="dim",
            markup=False,
        )


def _show_speech(result: Comparison) -> None:
    """Instructions followed, generation speed and the time to 95% of full's gain, if measured."""
    spoken = [row for row in result.rows if row.generation_tokens_per_second is not None]
    if not spoken:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for column in ("instructions", "writes", "merged", "an epoch", "to 95% of full"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in spoken:
        table.add_row(
            _label(row),
            "-" if row.instruction_score is None else f"{100 * row.instruction_score:.0f}%",
            _rate(row.generation_tokens_per_second),
            _rate(row.merged_tokens_per_second),
            duration(row.epoch_seconds),
            duration(row.seconds_to_95),
        )
    out.print(table)
    out.print(
        "Instructions: share of 24 small tasks done exactly as told. Writes, merged: tokens a "
        "second of one request, as it is and folded into the base.",
        style="dim",
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}/s"


def _label(row: MethodRow) -> str:
    return method_word(row.method)


def _cells(row: MethodRow) -> list[str]:
    label = _label(row) + ("*" if row.status == "cut" else "")
    if row.heldout_loss is None:
        return [label, row.status.replace("_", " "), *["-"] * 5]
    return [
        label,
        _interval(row.heldout_loss, row.heldout_loss_ci, ".3f", ".2f"),
        _interval(row.relative_performance, row.relative_performance_ci, ".0f", ".0f"),
        size(row.peak_memory_bytes),
        duration(row.train_seconds) if row.train_seconds else "-",
        size(row.artifact_bytes) if row.artifact_bytes else "-",
        "-" if row.forgetting is None else f"{row.forgetting:+.3f}",
    ]


def _interval(
    value: float | None, interval: tuple[float, float] | None, form: str, ends: str
) -> str:
    if value is None:
        return "-"
    low, high = (f"{end:{ends}}" for end in interval or (value, value))
    return f"{value:{form}}" if low == high else f"{value:{form}} ({low}-{high})"
