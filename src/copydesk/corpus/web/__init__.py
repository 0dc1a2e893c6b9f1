"""Sites in; raw records of their pages, with provenance, out.

Asks hosts as they want to be asked: robots.txt, delays, reservations of use; connects to checked
public addresses only; ends within limits of time, bytes and pages. Reads and writes: a folder for
each site, with what was fetched. Does not know: clients, cleaning, duplicates.
"""

from copydesk.corpus.web._crawl import crawl
from copydesk.corpus.web._robots import Robots
from copydesk.corpus.web._settings import WebSettings, is_address, user_agent

__all__ = ["Robots", "WebSettings", "crawl", "is_address", "user_agent"]
