"""One comparison as the page shows it."""

from dataclasses import dataclass

from markupsafe import Markup

from copydesk.app.report import _units
from copydesk.app.report._curves import curve_methods, curve_table, has_curves, loss_curves
from copydesk.app.report._forgetting import forgetting_bars, forgetting_table
from copydesk.app.report._headline import headline
from copydesk.app.report._intervals import has_losses, heldout_intervals, intervals_table
from copydesk.app.report._measures import measures
from copydesk.app.report._methods import method_name
from copydesk.app.report._predicted import predictions, predictions_met, predictions_table
from copydesk.app.report._qualities import Qualities, qualities_table
from copydesk.app.report._sweep import sweep_summary, sweep_table
from copydesk.app.report._symbols import badge
from copydesk.app.report._table import Table
from copydesk.app.report._tradeoff import has_tradeoff, price_unit, tradeoff, tradeoff_table
from copydesk.records import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Drawings under one heading, with their figures as a table."""

    heading: str
    size: str
    """`large`, `small` or `row`: how much of the page's width it takes."""
    panels: list[tuple[str, Markup]]
    """Each with a name of its own, or with none."""
    caption: str
    table: Table
    legend: list[tuple[str, Markup]]
    """Name and mark, for a phone's screen, where the drawing has no names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """What the template reads."""

    key: str
    headline: str
    details: str
    """What the comparison says of itself, where the headline does not already."""
    facts: list[str]
    measures: Table | None
    footnotes: list[str]
    figures: list[Figure]
    qualities: Table | None
    legend: list[tuple[str, str]]
    """Of the qualities: aspect and how its words are found."""
    sweep: Table | None
    sweep_summary: str
    settings: list[tuple[str, str]]
    measured: str


def view_comparison(
    comparison: Comparison, qualities: Qualities | None, *, key: str
) -> ComparisonView:
    """All that the page says of it.

    Args:
        comparison: old ones, without the later fields, are shown with what they have.
        qualities: the qualitative table's cells, where somebody judged.
        key: makes ids the page's only ones.
    """
    said = headline(comparison)
    judged = qualities if qualities is not None and qualities.judgements else None
    return ComparisonView(
        key=key,
        headline=said or comparison.verdict,
        details=comparison.verdict if said else "",
        facts=_facts(comparison),
        measures=measures(comparison) if comparison.rows else None,
        footnotes=_footnotes(comparison),
        figures=[
            made
            for draw in (_tradeoff, _forgetting, _curves, _intervals, _predicted)
            if (made := draw(comparison, f"{key}-{draw.__name__[1:]}")) is not None
        ],
        qualities=qualities_table(judged) if judged else None,
        legend=[(name.capitalize(), rule) for name, rule in judged.legend.items()]
        if judged
        else [],
        sweep=sweep_table(comparison),
        sweep_summary=sweep_summary(comparison),
        settings=_settings(comparison),
        measured=_measured(comparison),
    )


def _facts(comparison: Comparison) -> list[str]:
    facts = [
        f"Base {comparison.base}",
        f"{_units.plural(comparison.train_documents, 'training page')}"
        f" ({_units.count(comparison.train_tokens)} tokens)",
        f"{_units.plural(comparison.heldout_documents, 'held-out page')}"
        f" ({_units.count(comparison.heldout_tokens)} tokens)",
    ]
    if len(comparison.clients) > 1:
        facts.append(f"{len(comparison.clients)} clients pooled")
    if comparison.spent_seconds is not None:
        spent = f"{_units.duration(comparison.spent_seconds)} spent"
        if comparison.budget_seconds is not None:
            spent += f" of {_units.duration(comparison.budget_seconds)}"
        facts.append(spent)
    return facts


def _footnotes(comparison: Comparison) -> list[str]:
    rows = comparison.rows
    notes = ["Small figures below a value are its 95% interval."]
    if any(row.tied_with for row in rows):
        notes.append(
            "Tied: the intervals overlap, so that these pages do not tell which is better."
        )
    if any(row.clients_in_pass > 1 for row in rows):
        notes.append("Memory of a pass is that of all its clients together.")
    if any(row.seeds > 1 for row in rows):
        notes.append("Of several runs, losses and times are their mean and memory is the greatest.")
    return notes


def _tradeoff(comparison: Comparison, key: str) -> Figure | None:
    if not has_tradeoff(comparison):
        return None
    price = "costs less" if price_unit(comparison) == "money" else "takes less time"
    return Figure(
        heading="Quality against cost",
        size="large",
        panels=[
            ("", tradeoff(comparison, key=f"{key}-{'wide' if wide else 'narrow'}", wide=wide))
            for wide in (True, False)
        ],
        caption=f"Higher is better, further left {price}. Upright lines: 95% intervals. Dashed: "
        "without training. The staircase is the Pareto front: what lies on it is beaten by "
        "nothing that is as good for less.",
        table=tradeoff_table(comparison),
        legend=[],
    )


def _intervals(comparison: Comparison, key: str) -> Figure | None:
    if not has_losses(comparison):
        return None
    return Figure(
        heading="Where each method ended",
        size="small",
        panels=[("", heldout_intervals(comparison, key=key))],
        caption="Mark: loss over the held-out pages. Line: 95% interval.",
        table=intervals_table(comparison),
        legend=[],
    )


def _curves(comparison: Comparison, key: str) -> Figure | None:
    if not has_curves(comparison):
        return None
    return Figure(
        heading="Learning over time",
        size="large",
        panels=[
            ("", loss_curves(comparison, key=f"{key}-{'wide' if wide else 'narrow'}", wide=wide))
            for wide in (True, False)
        ],
        caption="Bold with marks: loss on pages held out of training. Light: on the training "
        "pages. Dashed: without training.",
        table=curve_table(comparison),
        legend=[(method_name(m), badge(m)) for m in curve_methods(comparison)],
    )


def _forgetting(comparison: Comparison, key: str) -> Figure | None:
    panels = forgetting_bars(comparison, key=key)
    if not panels:
        return None
    return Figure(
        heading="What tuning did to all else",
        size="small",
        panels=panels,
        caption="Each bar is a change against the untuned base.",
        table=forgetting_table(comparison),
        legend=[],
    )


def _predicted(comparison: Comparison, key: str) -> Figure | None:
    panels = predictions(comparison, key=key)
    if not panels:
        return None
    return Figure(
        heading="Predicted and measured",
        size="row",
        panels=panels,
        caption=f"On the line, the prediction was right; the strip is 10% to either side. "
        f"{predictions_met(comparison)}",
        table=predictions_table(comparison),
        legend=[],
    )


def _settings(comparison: Comparison) -> list[tuple[str, str]]:
    """Each method's settings on one line, the learning rate that was used among them."""
    lines: list[tuple[str, str]] = []
    for row in comparison.rows:
        settings = dict(comparison.settings.get(row.method, {}))
        if row.learning_rate is not None:
            settings.setdefault("learning_rate", _units.rate(row.learning_rate))
        if settings:
            said = ", ".join(f"{name} {value}" for name, value in settings.items())
            lines.append((method_name(row.method), said))
    return lines


def _measured(comparison: Comparison) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    where = " \u00b7 ".join(part for part in (comparison.machine, versions) if part)
    return f"Measured {_units.moment(comparison.created)}{f' on {where}' if where else ''}."
