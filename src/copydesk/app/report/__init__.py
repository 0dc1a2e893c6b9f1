"""The report: what was measured and what was written, as one HTML file to hand to a client.

Reads: comparisons, drafts and lineages (records). Writes nothing itself: the page comes back as
text, with its style and drawings inside and nothing to load. Does not know: workspaces, models, how
a figure was measured or a finding was made, by which rule a figure is called low or high.

`headline`, `measures` and `predictions_table` give a comparison's first sentence, its main table
and what was predicted to other forms of it than the page.
"""

from copydesk.app.report._headline import headline
from copydesk.app.report._measures import measures
from copydesk.app.report._predicted import predictions_table
from copydesk.app.report._qualities import Judged, Qualities
from copydesk.app.report._render import render_report
from copydesk.app.report._table import Cell, Line, Table

__all__ = [
    "Cell",
    "Judged",
    "Line",
    "Qualities",
    "Table",
    "headline",
    "measures",
    "predictions_table",
    "render_report",
]
