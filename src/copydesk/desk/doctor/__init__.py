"""What is wrong with a workspace, in words; and the mending of what can be mended safely.

`examine` reads everything that lies in a workspace: the catalogue, every artifact with its hashes
and signature, keys, unfinished work, caches, locks and settings. It changes nothing unless asked.

Reads: the workspace's folder. Writes, when asked to repair: the catalogue's rows, signatures, and
the removal of what nobody needs. Does not know: terminals, models.
"""

from copydesk.desk.doctor._examine import Examination, examine
from copydesk.desk.doctor._troubles import Severity, Trouble

__all__ = ["Examination", "Severity", "Trouble", "examine"]
