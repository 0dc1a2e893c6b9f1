"""The workspace's report file."""

import datetime
from pathlib import Path

from copydesk.app.report import render_report
from copydesk.desk import Workspace
from copydesk.store import replace_bytes


def write_report(workspace: Workspace) -> Path:
    """Render comparisons and drafts into `report.html`; returns its path."""
    path = workspace.report_path
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = render_report(
        title=f"Copydesk: {workspace.root.name}",
        comparisons=workspace.comparisons(),
        drafts=workspace.drafts(),
        generated=now,
    )
    replace_bytes(path, page.encode())
    return path
