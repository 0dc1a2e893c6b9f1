"""Sites as hosts want them read: robots.txt first, a pause before each request, no pressing."""

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urljoin, urlsplit

from copydesk.corpus._fields import UnfitError
from copydesk.corpus.web._fetch import Answer, Fetcher, parse_url
from copydesk.corpus.web._robots import LARGEST_ROBOTS, Robots
from copydesk.corpus.web._settings import WebSettings
from copydesk.corpus.web._signals import LARGEST_TDM_FILE, TDM_FILE, TdmRule, tdm_rules_of

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REPEATED: Final = frozenset({429, 500, 502, 503, 504})
_PASSING: Final = frozenset({"timeout", "unreachable", "bad-http"})
_MOST_FAILURES: Final = 3
"""In a row: then the host is left alone for the rest of the crawl."""

Sleep = Callable[[float], None]


@dataclass(slots=True, kw_only=True)
class Host:
    """What we know of a host during one crawl."""

    robots: Robots = field(default_factory=Robots.nothing)
    tdm_rules: tuple[TdmRule, ...] = ()
    delay: float = 0.0
    free_at: float = 0.0
    """By the monotonic clock: not before then may it be asked again."""
    failures: int = 0
    closed: UnfitError | None = None
    """Why nothing more is asked of it."""


class PoliteReader:
    """Fetches pages as their hosts allow."""

    def __init__(
        self, fetcher: Fetcher, settings: WebSettings, *, sleep: Sleep = time.sleep
    ) -> None:
        self._fetcher = fetcher
        self._settings = settings
        self._sleep = sleep
        self._hosts: dict[str, Host] = {}

    def read(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str],
        within: Callable[[str], bool] = lambda _: True,
    ) -> Answer:
        """Fetch a page; the answer's address is where redirects led.

        Args:
            url: its address.
            max_bytes: most bytes, unpacked.
            headers: of the first request, e.g. `If-None-Match`.
            within: whether an address that is redirected to may be asked.

        Raises:
            UnfitError: the host does not allow it, or there is no answer; see `Fetcher.get`.
                Besides: `robots`, `crawl-delay`, `redirects`, `other-host`, `http-status`,
                `too-many-requests`.
        """
        for _ in range(self._settings.max_redirects + 1):
            host = self.host(url)
            if not host.robots.allows(url):
                raise UnfitError("robots", f"The site's robots.txt does not allow {_path(url)}.")
            answer = self._ask(host, url, max_bytes, headers)
            if answer.status not in _REDIRECTS:
                return answer
            url = _target(answer)
            headers = {}
            if not within(url):
                raise UnfitError("other-host", f"It is redirected out of the site, to {url[:200]}.")
        raise UnfitError(
            "redirects", f"It is redirected more than {self._settings.max_redirects} times."
        )

    def host(self, url: str) -> Host:
        """What the host of an address allows; asked once.

        Raises:
            UnfitError: the host cannot be asked, or wants to be left alone.
        """
        parsed = parse_url(url)
        origin = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = Host(delay=self._settings.delay_seconds)
            try:
                self._learn(host, origin)
            except UnfitError as unfit:
                host.closed = unfit
        if host.closed:
            raise host.closed
        return host

    def _learn(self, host: Host, origin: str) -> None:
        answer = self._follow(host, f"{origin}/robots.txt", LARGEST_ROBOTS + 1024 * 1024)
        if answer is None or 400 <= answer.status < 500:
            host.robots = Robots.everything()
        elif 200 <= answer.status < 300:
            host.robots = Robots.parse(answer.content)
        else:
            raise UnfitError(
                "robots",
                f"The site's robots.txt cannot be had (status {answer.status}), "
                "so nothing may be fetched (RFC 9309).",
            )
        host.delay = max(host.delay, host.robots.delay)
        if host.delay > self._settings.longest_delay_seconds:
            raise UnfitError(
                "crawl-delay", f"The site asks for {host.delay:g} s between requests: too long."
            )
        if host.robots.allows(f"{origin}{TDM_FILE}"):
            try:
                tdm = self._follow(host, f"{origin}{TDM_FILE}", LARGEST_TDM_FILE)
            except UnfitError:
                return
            if tdm is not None and tdm.status == 200:
                host.tdm_rules = tdm_rules_of(tdm.content)

    def _follow(self, host: Host, url: str, max_bytes: int) -> Answer | None:
        """A file about the site itself, through redirects; None where they do not end."""
        for _ in range(self._settings.max_redirects + 1):
            answer = self._ask(host, url, max_bytes, {})
            if answer.status not in _REDIRECTS:
                return answer
            url = _target(answer)
        return None

    def _ask(self, host: Host, url: str, max_bytes: int, headers: Mapping[str, str]) -> Answer:
        """Ask until there is an answer that repeating would not better."""
        attempt = 0
        while True:
            self._sleep_until(host.free_at)
            again = attempt < self._settings.retries
            try:
                answer = self._fetcher.get(url, max_bytes=max_bytes, headers=headers)
            except UnfitError as unfit:
                host.free_at = time.monotonic() + host.delay * 2**attempt
                if unfit.rule not in _PASSING:
                    raise
                if not again:
                    self._count_failure(host, unfit)
                    raise
            else:
                # From the end of the answer: then the server sees at least the delay between two.
                host.free_at = time.monotonic() + host.delay
                host.failures = 0
                if answer.status not in _REPEATED:
                    return answer
                if not again:
                    return self._given_up(host, answer)
                self._back_off(host, answer, attempt)
            attempt += 1

    def _given_up(self, host: Host, answer: Answer) -> Answer:
        """The last answer of a host that is overloaded; one that says so to us is left alone."""
        if answer.status != 429:
            return answer
        host.closed = UnfitError("too-many-requests", "The site asks for fewer requests (429).")
        raise host.closed

    def _back_off(self, host: Host, answer: Answer, attempt: int) -> None:
        asked = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
        pause = max(host.delay * 2 ** (attempt + 1), asked)
        if pause > self._settings.longest_wait_seconds:
            host.closed = UnfitError(
                "too-many-requests",
                f"The site asks to come back in {pause:,.0f} s (status {answer.status}).",
            )
            raise host.closed
        host.free_at = time.monotonic() + pause

    def _count_failure(self, host: Host, unfit: UnfitError) -> None:
        host.failures += 1
        if host.failures >= _MOST_FAILURES:
            host.closed = UnfitError(
                unfit.rule,
                f"{unfit.reason} After {host.failures} such pages no more were asked for.",
            )

    def _sleep_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            self._sleep(left)


def retry_after(value: str, now: datetime) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date (RFC 9110, 10.2.3)."""
    value = value.strip()
    if value.isdecimal() and value.isascii():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _target(answer: Answer) -> str:
    location = answer.headers.get("location", "").split("\n")[0].strip()
    if not location:
        raise UnfitError("bad-http", f"It is redirected (status {answer.status}) to nowhere.")
    try:
        return urljoin(answer.url, location)
    except ValueError:
        raise UnfitError("bad-url", "It is redirected to what is no address.") from None


def _path(url: str) -> str:
    return urlsplit(url).path[:200] or "/"
