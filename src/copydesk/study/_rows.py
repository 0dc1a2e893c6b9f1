"""From cells to the rows of the table, and which methods are tied."""

import dataclasses
from collections.abc import Mapping, Sequence

from copydesk.evaluate import RunLosses, gain_share, pooled_interval, pooled_mean
from copydesk.models import find_method
from copydesk.records import MethodRow, RowStatus
from copydesk.study._cells import Cell
from copydesk.study._pool import Pool, seconds_until
from copydesk.study._question import Question
from copydesk.study._sweep import Sweep

_TARGET = 0.95
"""The share of full fine-tuning's gain whose time is told."""
UNTUNED = ("base", "prompted")


def baseline_rows(base: Pool, prompted: Pool) -> list[MethodRow]:
    """The untuned base and the prompted base."""
    return [
        _untuned_row("base", base, base),
        _untuned_row("prompted", prompted, base),
    ]


def method_row(
    method: str,
    pool: Pool,
    base: Pool,
    *,
    question: Question,
    rate: float,
    sweep: Sweep,
    epoch_tokens: Sequence[int],
) -> MethodRow:
    """A method's row without what is relative to full fine-tuning.

    A method that failed on one client has no figures; of one that was cut, they are of what was
    done.
    """
    status, error = _outcome(pool, question.clients)
    row = MethodRow(
        method=method,
        status=status,
        error=error,
        learning_rate=rate,
        swept=sweep.swept,
        sweep_seconds=sweep.seconds if question.sweep else None,
    )
    if status not in {"done", "cut"}:
        return row
    heldout = pooled_interval(pool.losses("heldout"))
    seconds = pool.total(lambda cell: cell.train_seconds)
    tokens = pool.total(lambda cell: cell.tokens)
    hourly = question.hourly_usd
    general, general_before = pool.losses("general"), base.losses("general")
    others, others_before = pool.losses("others"), base.losses("others")
    score, score_before = _followed(pool), _followed(base)
    size = pool.mean(lambda cell: cell.artifact_bytes)
    peaks = [cell.peak_memory_bytes for cell in pool.cells if cell.peak_memory_bytes]
    return dataclasses.replace(
        row,
        trainable_parameters=pool.cells[0].trainable_parameters,
        peak_memory_bytes=max(peaks, default=None),
        train_seconds=seconds,
        cost_usd=None if hourly is None else hourly * (seconds + sweep.seconds) / 3600,
        heldout_loss=heldout.value,
        heldout_loss_ci=(heldout.low, heldout.high),
        forgetting=pooled_mean(general) - pooled_mean(general_before),
        general_loss=pooled_mean(general),
        others_loss=pooled_mean(others) if others else None,
        others_change=pooled_mean(others) - pooled_mean(others_before) if others else None,
        artifact_bytes=None if size is None else round(size),
        tokens_per_second=tokens / seconds if seconds else None,
        clients_in_pass=max(cell.clients_in_pass for cell in pool.cells),
        seeds=pool.seeds,
        epoch_seconds=pool.epoch_seconds(epoch_tokens),
        instruction_score=score,
        instruction_change=None if score is None or score_before is None else score - score_before,
        generation_tokens_per_second=pool.mean(
            lambda cell: cell.spoken and cell.spoken.tokens_per_second
        ),
        merged_tokens_per_second=pool.mean(
            lambda cell: cell.spoken and cell.spoken.merged_tokens_per_second
        ),
        curve=pool.curve(),
    )


def _outcome(pool: Pool, clients: Sequence[str]) -> tuple[RowStatus, str | None]:
    """How a method ended: the first failure there was, else whether any run was cut."""
    found = [(name, cell) for name, runs in zip(clients, pool.runs, strict=True) for cell in runs]
    failed = [(name, cell) for name, cell in found if not cell.scored][:1]
    told = failed or [(name, cell) for name, cell in found if cell.status == "cut"]
    if not told:
        return "done", None
    errors = [
        f"{cell.error}" if len(clients) == 1 else f"On {name}: {cell.error}" for name, cell in told
    ]
    return told[0][1].status, " ".join(errors)


def with_shares(rows: Sequence[MethodRow], pools: Mapping[str, Pool]) -> tuple[MethodRow, ...]:
    """Add each row's share of full fine-tuning's gain and time to 95% of it, and who is tied.

    Nothing is added where full fine-tuning was not measured to its end, or gained nothing.
    """
    finished = {row.method for row in rows if row.status in {"done", "cut"}}
    if not any(row.method == "full" and row.status == "done" for row in rows):
        return tuple(rows)
    losses = {name: pool.losses("heldout") for name, pool in pools.items() if name in finished}
    base, full = losses["base"], losses["full"]
    target = pooled_mean(base) - _TARGET * (pooled_mean(base) - pooled_mean(full))
    shared = [
        _with_share(row, losses[row.method], base, full, target) if row.method in losses else row
        for row in rows
    ]
    return tuple(_with_ties(row, shared) for row in shared)


def recommended(rows: Sequence[MethodRow]) -> str | None:
    """The cheapest of the methods that are tied with the best; None where none beats the base.

    Cheapest by cost, or without prices by training time, then by memory. Without full fine-tuning
    there are no shares and no ties: then it is the method of lowest loss.
    """
    base = next((row.heldout_loss for row in rows if row.method == "base"), None)
    done = [
        row
        for row in rows
        if row.method not in UNTUNED and row.status == "done" and row.heldout_loss is not None
    ]
    if base is None or not done:
        return None
    best = min(done, key=lambda row: row.heldout_loss or 0.0)
    if best.heldout_loss is None or best.heldout_loss >= base:
        return None
    tied = [row for row in done if row is best or row.method in best.tied_with]
    return min(tied, key=_price).method


def _price(row: MethodRow) -> tuple[float, float, float]:
    unknown = float("inf")
    cost = 0.0 if row.cost_usd is None else row.cost_usd
    return cost, row.train_seconds or unknown, row.peak_memory_bytes or unknown


def _with_share(
    row: MethodRow,
    own: Sequence[RunLosses],
    base: Sequence[RunLosses],
    full: Sequence[RunLosses],
    target: float,
) -> MethodRow:
    share = gain_share(own, base, full)
    if share is None:
        return row
    return dataclasses.replace(
        row,
        relative_performance=share.value,
        relative_performance_ci=(share.low, share.high),
        seconds_to_95=seconds_until(row.curve, target),
    )


def _with_ties(row: MethodRow, rows: Sequence[MethodRow]) -> MethodRow:
    if row.relative_performance_ci is None or row.method in UNTUNED or row.status != "done":
        return row
    low, high = row.relative_performance_ci
    return dataclasses.replace(
        row,
        tied_with=tuple(
            other.method
            for other in rows
            if other.method not in {row.method, *UNTUNED}
            and other.status == "done"
            and other.relative_performance_ci is not None
            and other.relative_performance_ci[0] <= high
            and other.relative_performance_ci[1] >= low
        ),
    )


def _untuned_row(method: str, pool: Pool, base: Pool) -> MethodRow:
    interval = pooled_interval(pool.losses("heldout"))
    others = base.losses("others")
    score = _followed(base) if method == "base" else None
    return MethodRow(
        method=method,
        status="done",
        trainable_parameters=0,
        train_seconds=0.0,
        heldout_loss=interval.value,
        heldout_loss_ci=(interval.low, interval.high),
        forgetting=0.0,
        general_loss=pooled_mean(base.losses("general")),
        others_loss=pooled_mean(others) if others else None,
        others_change=0.0 if others else None,
        artifact_bytes=0,
        instruction_score=score,
        instruction_change=None if score is None else 0.0,
        generation_tokens_per_second=pool.mean(
            lambda cell: cell.spoken and cell.spoken.tokens_per_second
        ),
    )


def _followed(pool: Pool) -> float | None:
    """Share of the instruction probe's tasks that were done as told."""

    def share(cell: Cell) -> float | None:
        return sum(cell.spoken.followed) / len(cell.spoken.followed) if cell.spoken else None

    return pool.mean(share)


def method_label(row: MethodRow) -> str:
    """A method's label, as the first word of a sentence."""
    label = find_method(row.method).label
    return label[0].upper() + label[1:]
