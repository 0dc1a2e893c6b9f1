"""Search conventions: what common on-page plug-ins ask for. Conventions, not a promise of "
"ranking."""

from collections.abc import Iterator

from copydesk.content._folding import fold_words
from copydesk.content._phrases import content_words, has_phrase, phrase_places, share_of_words
from copydesk.content._pixels import title_pixels
from copydesk.content._sentences import first_paragraph
from copydesk.content._subject import WHOLE, Subject
from copydesk.records import Finding


def search_findings(subject: Subject) -> Iterator[Finding]:
    """What is missing of the brief's keywords and links, and what the page lacks."""
    keyword = subject.brief.keyword if subject.brief else None
    if keyword and fold_words(keyword):
        yield from _keyword_heads(subject, keyword)
        yield from _keyword_headings(subject, keyword)
        yield from _keyword_spread(subject, keyword)
        yield from _keyword_meta(subject, keyword)
    yield from _secondary(subject)
    yield from _lengths(subject)
    yield from _links(subject)
    yield from _pictures(subject)


def _keyword_heads(subject: Subject, keyword: str) -> Iterator[Finding]:
    rule = subject.rule("search/keyword-in-title")
    if rule and subject.title is not None and not has_phrase(subject.title, keyword):
        message = (
            f'The title does not have "{keyword}". Put it in, as near the start as reads well.'
        )
        yield subject.finding(rule, WHOLE, message)
    rule = subject.rule("search/keyword-in-first-paragraph")
    paragraph = first_paragraph(subject.text)
    if rule and paragraph:
        start, end = paragraph
        inside = [word for word in subject.words if start <= word.start and word.end <= end]
        if not phrase_places(subject.folded, inside, keyword):
            message = (
                f'The first paragraph does not have "{keyword}". Say it there once, in a sentence.'
            )
            yield subject.finding(rule, paragraph, message)
    rule = subject.rule("search/keyword-length")
    if rule and len(content_words(keyword)) > rule.number("most"):
        message = (
            f'"{keyword}" has {len(content_words(keyword))} content words; phrases of up to'
            f" {rule.number('most'):.0f} are what people type."
        )
        yield subject.finding(rule, WHOLE, message)


def _keyword_headings(subject: Subject, keyword: str) -> Iterator[Finding]:
    rule = subject.rule("search/keyword-in-headings")
    headings = [heading for heading in subject.headings if heading.level in (2, 3)]
    if rule is None or len(headings) < rule.number("least_headings"):
        return
    share = sum(has_phrase(heading.text, keyword) for heading in headings) / len(headings)
    if share < rule.number("least_share"):
        message = f'"{keyword}" is in {share:.0%} of the subheadings. Name it in one or two.'
    elif share > rule.number("most_share"):
        message = f'"{keyword}" is in {share:.0%} of the subheadings. Say some without it.'
    else:
        return
    yield subject.finding(rule, (headings[0].start, headings[0].end), message)


def _keyword_spread(subject: Subject, keyword: str) -> Iterator[Finding]:
    found = phrase_places(subject.folded, subject.words, keyword)
    count = len(subject.words)
    rule = subject.rule("search/keyword-density")
    if rule and count >= rule.number("least_words"):
        density = 100 * len(found) / count
        if density < rule.number("least"):
            message = (
                f'"{keyword}" stands {_times(len(found))} in {count:,} words. Name it more often.'
            )
            yield subject.finding(rule, WHOLE, message)
        elif density > rule.number("most") and len(found) > rule.number("least_times"):
            message = (
                f'"{keyword}" stands {_times(len(found))} in {count:,} words, {density:.1f}% of'
                f" them. Above {rule.number('most'):g}% it reads as stuffed: say it another way."
            )
            yield subject.finding(rule, found[-1], message)
    rule = subject.rule("search/keyword-distribution")
    if rule and found and count >= rule.number("least_words"):
        parts = int(rule.number("parts"))
        bounds = [subject.words[count * part // parts].start for part in range(parts)]
        bounds.append(len(subject.text))
        for part in range(parts):
            start, end = bounds[part], bounds[part + 1]
            if not any(start <= place[0] < end for place in found):
                nth = f"part {part + 1} of {parts}"
                message = f'"{keyword}" is not named in {nth} of the draft. Does that part stray?'
                yield subject.finding(rule, (start, start), message)


def _times(count: int) -> str:
    return {0: "nowhere", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _keyword_meta(subject: Subject, keyword: str) -> Iterator[Finding]:
    rule = subject.rule("search/keyword-in-meta")
    if rule and subject.meta_description:
        words = fold_words(subject.meta_description)
        times = sum(
            words[at : at + len(fold_words(keyword))] == fold_words(keyword)
            for at in range(len(words))
        )
        if not times and not has_phrase(subject.meta_description, keyword):
            message = f'The meta description does not have "{keyword}". Say it there once.'
            yield subject.finding(rule, WHOLE, message)
        elif times > rule.number("most"):
            message = (
                f'The meta description has "{keyword}" {_times(times)}. Once or twice is enough.'
            )
            yield subject.finding(rule, WHOLE, message)
    rule = subject.rule("search/keyword-in-slug")
    if rule and subject.slug:
        share = share_of_words(subject.slug.replace("-", " "), keyword)
        if share <= rule.number("least_share") and share < 1:
            message = f'The address "{subject.slug}" lacks most words of "{keyword}".'
            yield subject.finding(rule, WHOLE, message)


def _secondary(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("search/secondary-keyword")
    for phrase in subject.brief.keywords if rule and subject.brief else ():
        if rule and not phrase_places(subject.folded, subject.words, phrase):
            message = f'The secondary keyword "{phrase}" is nowhere. Use it once where it fits.'
            yield subject.finding(rule, WHOLE, message)


def _lengths(subject: Subject) -> Iterator[Finding]:
    brief = subject.brief
    rule = subject.rule("search/text-length")
    # Where the brief or the client's guide names a length, that is the standard.
    unsaid = brief is not None and brief.length is None and brief.length_range is None
    if rule and brief and unsaid and brief.format not in subject.guide.length:
        product = brief.format == "product"
        least = rule.number("least_product" if product else "least")
        if len(subject.words) < least:
            message = f"The draft has {len(subject.words):,} words; the convention is {least:.0f}."
            yield subject.finding(rule, WHOLE, message)
    rule = subject.rule("search/title-width")
    if rule and subject.title and brief and brief.format != "social":
        width = title_pixels(subject.title)
        if width > rule.number("most"):
            message = (
                f"The title is about {width:.0f} pixels wide; results pages cut at"
                f" {rule.number('most'):.0f}. Shorten it, or put what matters first."
            )
            yield subject.finding(rule, WHOLE, message)
    rule = subject.rule("search/meta-length")
    if rule and subject.meta_description and brief:
        length = len(subject.meta_description)
        if not rule.number("least") <= length <= rule.number("most"):
            message = (
                f"The meta description has {length} characters; the convention is"
                f" {rule.number('least'):.0f} to {rule.number('most'):.0f}."
            )
            yield subject.finding(rule, WHOLE, message)


def _links(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("search/link-missing")
    linked = {_bare(link.url) for link in subject.links}
    for link in subject.brief.links if rule and subject.brief else ():
        if rule and _bare(link.url) not in linked:
            words = f' from "{link.text}"' if link.text else ""
            message = f"The brief asks for a link to {link.url}{words}. Set it where it helps."
            yield subject.finding(rule, WHOLE, message)
    rule = subject.rule("search/links")
    if rule and subject.brief and not linked and len(subject.words) >= rule.number("least_words"):
        message = "The draft links nowhere. Link to a page of the client's, and to a source."
        yield subject.finding(rule, WHOLE, message)
    rule = subject.rule("search/link-text")
    for link in subject.links if rule else ():
        if rule and link.text.strip("*_. ").lower() in rule.words("vague"):
            message = f'"{link.text}" does not say where the link leads. Link words that do.'
            yield subject.finding(rule, (link.start, link.end), message)


def _bare(url: str) -> str:
    """An address without what does not change where it leads."""
    return (
        url.partition("#")[0].rstrip("/").removeprefix("https://").removeprefix("http://").lower()
    )


def _pictures(subject: Subject) -> Iterator[Finding]:
    rule = subject.rule("search/alternative-text")
    for picture in subject.images if rule else ():
        if rule and not picture.text:
            message = "The picture has no alternative text. Say what it shows."
            yield subject.finding(rule, (picture.start, picture.end), message)
        elif rule and _is_file_name(picture.text):
            message = f'"{picture.text}" is a file\'s name. Say what the picture shows.'
            yield subject.finding(rule, (picture.start, picture.end), message)


def _is_file_name(text: str) -> bool:
    return text.lower().endswith((".jpg", ".jpeg", ".png", ".webp", ".gif", ".svg"))
