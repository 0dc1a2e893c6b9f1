"""Comparisons and drafts into the one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from copydesk.app.report import _units
from copydesk.app.report._curves import curve_methods, has_curves, loss_curves
from copydesk.app.report._intervals import has_losses, heldout_intervals
from copydesk.app.report._marks import Numbered, Segment, numbered, segments
from copydesk.app.report._methods import method_class, method_name, status_text
from copydesk.records import Comparison, Draft, MethodRow, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    name: str
    kind: str
    problem: str
    cells: list[_Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ComparisonView:
    comparison: Comparison
    key: str
    when: str
    columns: list[str]
    rows: list[_Row]
    curves: list[Markup]
    legend: list[tuple[str, str]]
    intervals: Markup | None
    settings: list[tuple[str, str]]
    machine: str
    counts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _DraftView:
    draft: Draft
    key: str
    segments: tuple[Segment, ...]
    findings: tuple[Numbered, ...]
    tally: str
    about: str


@dataclass(slots=True, kw_only=True)
class _Client:
    name: str
    key: str
    comparisons: list[_ComparisonView]
    drafts: list[_DraftView]


def render_report(
    *, title: str, comparisons: Sequence[Comparison], drafts: Sequence[Draft], generated: str
) -> str:
    """One HTML file that needs nothing beside it: no network, no scripts.

    Args:
        title: the page's heading.
        comparisons: tuning methods measured, one a client or several.
        drafts: drafts with their findings; a client need not have a comparison.
        generated: when the report is made, an ISO time or any text.
    """
    clients: dict[str, _Client] = {}
    for name in [item.client for item in (*comparisons, *drafts)]:
        made = _Client(name=name, key=f"c{len(clients) + 1}", comparisons=[], drafts=[])
        clients.setdefault(name, made)
    for n, comparison in enumerate(comparisons, start=1):
        clients[comparison.client].comparisons.append(_comparison(comparison, key=f"m{n}"))
    for n, draft in enumerate(drafts, start=1):
        clients[draft.client].drafts.append(_draft(draft, key=f"d{n}"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title, clients=list(clients.values()), generated=_units.moment(generated)
    )
    # Lone halves of surrogate pairs cannot be written as UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8")


def _comparison(comparison: Comparison, *, key: str) -> _ComparisonView:
    costed = any(row.cost_usd is not None for row in comparison.rows)
    columns = [
        "Held-out loss",
        "Share of full\u2019s gain",
        "Trainable parameters",
        "Peak memory",
        "Training time",
        *(["Cost"] if costed else []),
        "Tokens/s",
        "Size on disk",
        "Forgetting",
        "Others\u2019 change",
    ]
    drawable = has_curves(comparison)
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    return _ComparisonView(
        comparison=comparison,
        key=key,
        when=_units.moment(comparison.created),
        columns=columns,
        rows=[_row(row, costed=costed) for row in comparison.rows],
        curves=[
            loss_curves(comparison, key=f"{key}-{'wide' if wide else 'narrow'}", wide=wide)
            for wide in ([True, False] if drawable else [])
        ],
        legend=[(method_name(m), method_class(m)) for m in curve_methods(comparison)],
        intervals=heldout_intervals(comparison, key=f"{key}-dots")
        if has_losses(comparison)
        else None,
        settings=_settings(comparison),
        machine=" \u00b7 ".join(part for part in (comparison.machine, versions) if part),
        counts=(
            f"{_units.plural(comparison.train_documents, 'training page')}"
            f" ({_units.count(comparison.train_tokens)} tokens),"
            f" {_units.plural(comparison.heldout_documents, 'held-out page')}"
            f" ({_units.count(comparison.heldout_tokens)} tokens)"
        ),
    )


def _row(row: MethodRow, *, costed: bool) -> _Row:
    return _Row(
        name=method_name(row.method),
        kind=method_class(row.method),
        problem=status_text(row.status, row.error),
        cells=[
            _Cell(
                value=_units.number(row.heldout_loss, 3),
                note=_units.interval(row.heldout_loss_ci, 3),
            ),
            _Cell(
                value=_units.percent(row.relative_performance),
                note=_units.interval(row.relative_performance_ci, 0, "%"),
            ),
            _Cell(value=_units.count(row.trainable_parameters)),
            _Cell(
                value=_units.data(row.peak_memory_bytes),
                note=f"pass of {row.clients_in_pass} clients" if row.clients_in_pass > 1 else "",
            ),
            _Cell(value=_units.duration(row.train_seconds)),
            *([_Cell(value=_units.money(row.cost_usd))] if costed else []),
            _Cell(value=_units.number(row.tokens_per_second, 0)),
            _Cell(value=_units.data(row.artifact_bytes)),
            _Cell(value=_units.change(row.forgetting)),
            _Cell(value=_units.change(row.others_change)),
        ],
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


def _draft(draft: Draft, *, key: str) -> _DraftView:
    findings = numbered(draft.text, draft.findings)
    asked = [draft.brief.format]
    if draft.brief.length is not None:
        asked.append(f"about {draft.brief.length:,} words asked for")
    if draft.brief.keyword:
        asked.append(f"keyword \u201c{draft.brief.keyword}\u201d")
    return _DraftView(
        draft=draft,
        key=key,
        segments=segments(draft.text, findings),
        findings=findings,
        tally=_tally([item.finding.severity for item in findings]),
        about=" \u00b7 ".join(asked),
    )


def _tally(severities: Sequence[Severity]) -> str:
    nouns: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
    counted = [(severities.count(severity), noun) for severity, noun in nouns.items()]
    return ", ".join(_units.plural(n, noun) for n, noun in counted if n) or "No findings"
