"""The workspace's report file."""

import datetime
from pathlib import Path

from copydesk.app.report import Qualities, render_report
from copydesk.desk import Workspace
from copydesk.records import Comparison
from copydesk.store import replace_bytes


def write_report(workspace: Workspace) -> Path:
    """Render comparisons, drafts and where they come from into `report.html`; returns its path."""
    path = workspace.report_path
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = render_report(
        title=f"Copydesk: {workspace.root.name}",
        comparisons=workspace.comparisons(),
        drafts=workspace.drafts(),
        lineages=workspace.lineages(),
        generated=now,
        judge=_judge,
    )
    replace_bytes(path, page.encode())
    return path


def _judge(comparison: Comparison) -> Qualities:
    # Most commands that write the report have no comparison to judge, and do not wait for torch.
    from copydesk.study import THRESHOLDS, qualitative

    return Qualities(
        judgements=qualitative(comparison),
        legend={aspect: threshold.says for aspect, threshold in THRESHOLDS.items()},
    )
