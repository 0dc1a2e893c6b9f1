"""Pages in; those worth learning from, cleaned, and what became of each of the others, out.

The steps are language, lines that the whole site shares, quality, secrets and contact data, and
the client's style guide. Each is counted. Ready-made chats pass through the step for secrets alone:
they are somebody's choice already.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from copydesk.corpus._boilerplate import recurring_lines, site_of, without_lines
from copydesk.corpus._language import language_of, usual_languages
from copydesk.corpus._pages import Page
from copydesk.corpus._quality import failures
from copydesk.corpus._secrets import Kind, scrub
from copydesk.corpus._settings import CurateSettings
from copydesk.corpus._signals import Hashes, measure
from copydesk.corpus._words import has_words, word_count
from copydesk.records import Chat, Document, FunnelStep, Rejection

Violations = Callable[[Document], int]
"""How often a page does what its client's style guide forbids."""

_FEWEST_VIOLATIONS: Final = 3
STEPS: Final = ("language", "boilerplate", "quality", "secrets", "style guide")


@dataclass(slots=True)
class Count:
    """One step of the funnel while it is counted."""

    pages: int = 0
    rejected: int = 0
    changed: int = 0
    flagged: int = 0

    def fields(self) -> dict[str, int]:
        """As JSON values."""
        return asdict(self)

    def step(self, name: str) -> FunnelStep:
        """The count under its name."""
        return FunnelStep(
            step=name,
            pages=self.pages,
            rejected=self.rejected,
            changed=self.changed,
            flagged=self.flagged,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a page is not worth learning from."""

    rule: str
    reason: str
    value: float
    threshold: float


@dataclass(slots=True, kw_only=True)
class Cleaner:
    """The steps with what they must know of the whole set; counts as it goes."""

    settings: CurateSettings
    languages: frozenset[str]
    recurring: Callable[[Document], frozenset[int]]
    violations: Violations | None = None
    counts: dict[str, Count]
    shingles: Hashes | None = None
    """Of the page that was cleaned last, where its text was not changed after they were taken."""

    def clean(self, document: Document, language: str | None) -> Document | Fault:
        """One page through all steps; the first that rejects it ends the way.

        Pages named in the settings' `keep` are changed but never rejected.
        """
        kept = document.id in self.settings.keep
        for name, step in (
            ("language", lambda page: self._language(page, language)),
            ("boilerplate", self._boilerplate),
            ("quality", lambda page: self._quality(page, language)),
            ("secrets", self._secrets),
            ("style guide", self._style),
        ):
            count = self.counts[name]
            count.pages += 1
            found = step(document)
            if isinstance(found, Document):
                count.changed += found is not document
                document = found
            elif kept:
                count.flagged += 1
            else:
                count.rejected += 1
                return found
        return document

    def clean_chat(self, chat: Chat) -> Chat:
        """A chat without secrets."""
        count = self.counts["secrets"]
        count.pages += 1
        self.shingles = None
        kinds = self._replaced()
        scrubbed = [scrub(turn.content, kinds) for turn in chat.messages]
        if not any(found["secret"] or found["contact"] for _, found in scrubbed):
            return chat
        messages = tuple(
            replace(turn, content=text)
            for turn, (text, _) in zip(chat.messages, scrubbed, strict=True)
        )
        if messages == chat.messages:
            count.flagged += 1
            return chat
        count.changed += 1
        return replace(chat, messages=messages)

    def fields(self) -> dict[str, dict[str, int]]:
        """The counts as JSON values."""
        return {name: count.fields() for name, count in self.counts.items()}

    def _language(self, page: Document, language: str | None) -> Document | Fault:
        if language is None or not self.languages or language in self.languages:
            return page
        wanted = ", ".join(sorted(self.languages))
        return Fault(
            rule="other-language",
            reason=f"It is in the language {language!r}; the pages are in {wanted}.",
            value=0,
            threshold=1,
        )

    def _boilerplate(self, page: Document) -> Document | Fault:
        text = without_lines(page.text, self.recurring(page))
        if text == page.text:
            return page
        fewest = self.settings.fewest_words(page.format)
        if not has_words(text, fewest):
            words = word_count(text)
            return Fault(
                rule="only-boilerplate",
                reason=f"Without the lines that its site repeats it has {words} words; "
                f"a {page.format} page needs at least {fewest}.",
                value=words,
                threshold=fewest,
            )
        return replace(page, text=text)

    def _quality(self, page: Document, language: str | None) -> Document | Fault:
        signals = measure(page.text)
        self.shingles = signals.shingles
        for failure in failures(signals, page.format, language):
            return Fault(
                rule=failure.rule,
                reason=failure.reason,
                value=failure.value,
                threshold=failure.threshold,
            )
        return page

    def _secrets(self, page: Document) -> Document:
        text, found = scrub(page.text, self._replaced())
        if text != page.text:
            self.shingles = None
            return replace(page, text=text)
        if found["contact"]:
            self.counts["secrets"].flagged += 1
        return page

    def _style(self, page: Document) -> Document | Fault:
        if self.violations is None or not (count := self.violations(page)):
            return page
        rate = 1000 * count / max(1, word_count(page.text))
        if count >= _FEWEST_VIOLATIONS and rate > self.settings.most_violations:
            return Fault(
                rule="style-violations",
                reason=f"It breaks the style guide {count} times, {rate:.1f} in 1,000 words; "
                f"at most {self.settings.most_violations:g} are taught.",
                value=round(rate, 4),
                threshold=self.settings.most_violations,
            )
        self.counts["style guide"].flagged += 1
        return page

    def _replaced(self) -> frozenset[Kind]:
        return frozenset({"secret", "contact"} if self.settings.contacts == "scrub" else {"secret"})


def new_counts() -> dict[str, Count]:
    """A count of nothing for each step, in the order of the steps."""
    return {name: Count() for name in STEPS}


def clean_pages(
    pages: Sequence[Page], settings: CurateSettings, violations: Violations | None
) -> tuple[list[Page], list[Rejection], list[FunnelStep]]:
    """All pages of a client through the steps, in order."""
    languages = [
        language_of(page.material.text) if isinstance(page.material, Document) else None
        for page in pages
    ]
    recurring = recurring_lines(
        page.material for page in pages if isinstance(page.material, Document)
    )
    cleaner = Cleaner(
        settings=settings,
        languages=frozenset(settings.languages) or usual_languages(languages),
        recurring=lambda document: recurring.get(site_of(document), frozenset()),
        violations=violations,
        counts=new_counts(),
    )
    kept: list[Page] = []
    rejected: list[Rejection] = []
    for page, language in zip(pages, languages, strict=True):
        if isinstance(page.material, Chat):
            kept.append(replace(page, material=cleaner.clean_chat(page.material)))
            continue
        found = cleaner.clean(page.material, language)
        if isinstance(found, Document):
            kept.append(replace(page, material=found))
            continue
        rejected.append(
            page.place.reject(
                found.rule,
                found.reason,
                id=page.material.id,
                value=found.value,
                threshold=found.threshold,
            )
        )
    return kept, rejected, [count.step(name) for name, count in cleaner.counts.items()]
