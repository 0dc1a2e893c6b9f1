"""The HTTP server: OpenAI's interface over an engine, and an admin server beside it.

Reads: requests, and the catalogue anew for each. Writes: answers, a log of JSON lines, what keys
used. Does not know: how text is generated, nor what an adapter is; it hands `records.Generate` to
a `records.Engine`.
"""

from copydesk.app.api._admin import build_admin
from copydesk.app.api._front import Front
from copydesk.app.api._limits import Limits
from copydesk.app.api._routes import build_api
from copydesk.app.api._service import Service

__all__ = ["Front", "Limits", "Service", "build_admin", "build_api"]
