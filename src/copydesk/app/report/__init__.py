"""The report: what was measured and what was written, as one HTML file to hand to a client.

Reads: comparisons and drafts (records). Writes nothing itself: the page comes back as text, with
its style and drawings inside and nothing to load. Does not know: workspaces, models, how a figure
was measured or a finding was made.
"""

from copydesk.app.report._render import render_report

__all__ = ["render_report"]
