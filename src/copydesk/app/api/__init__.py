"""The HTTP server: OpenAI's interface over an engine, and an admin server beside it.

Reads: requests, and the catalogue anew for each. Writes: answers, a log of JSON lines, what keys
used. Does not know: how text is generated, nor what an adapter is; it hands `records.Generate` to
a `records.Engine`.
"""

from copydesk.app.api._admin import build_admin
from copydesk.app.api._front import Front
from copydesk.app.api._limits import Limits
from copydesk.app.api._routes import build_api
from copydesk.app.api._run import Ports, open_ports, run_server
from copydesk.app.api._service import Service
from copydesk.app.api._visits import log_to, say

__all__ = [
    "Front",
    "Limits",
    "Ports",
    "Service",
    "build_admin",
    "build_api",
    "log_to",
    "open_ports",
    "run_server",
    "say",
]
