"""Report pages for tests, and what a browser would find in them."""

from dataclasses import dataclass, replace
from html.parser import HTMLParser

from comparisons import NASTY, nasty

from copydesk.app.report import Qualities, render_report
from copydesk.content import TrainingIndex, check, make_brief
from copydesk.records import (
    Comparison,
    Draft,
    Finding,
    Lineage,
    LineageBase,
    LineagePage,
    StyleGuide,
)

ASPECTS = ("compute", "speed", "memory", "storage", "ceiling", "forgetting", "flexibility")
TEXT = """We lost the good windowsill in the office last Tuesday, as we do every February, because \
Priya has started chitting potatoes along the whole length of it and the kettle has had to move \
to the filing cabinet.

## Pegging them down

In July, take the first plantlet on each runner and peg it into a 9 cm pot of compost. A curated \
row of them is a stunning sight, and it doesn\u2019t take long. There is no hurry about it, \
really. Water the yard.

Cut the cord after about five weeks. There is no hurry about it, really. We have opinions about \
string, and will not share them here.

There is no hurry about it, really.

This week: find six pots, and leverage an old fork."""
PAGE = TEXT.split("\n\n")[0]


def draft(client: str = "fernwick") -> Draft:
    """A draft with something for every rule to say."""
    brief = make_brief(
        title="Strawberry Runners, and What to Do With the Spares",
        keyword="strawberry runners",
        points=["Peg the first plantlet into a 9 cm pot.", "Cut the cord after five weeks."],
        length=220,
    )
    guide = StyleGuide(banned=("stunning", "curated", "leverage"), prefer={"yard": "garden"})
    index = TrainingIndex.build([("chitting-potatoes-windowsill", PAGE)])
    return Draft(
        client=client,
        version=f"{client}@3",
        brief=brief,
        title=brief.title,
        slug="strawberry-runners-and-what-to-do-with-the-spares",
        meta_description=PAGE[:150] + "\u2026",
        text=TEXT,
        findings=check(TEXT, brief=brief, guide=guide, index=index),
    )


@dataclass(frozen=True)
class Judgement:
    """A cell of a qualitative table."""

    method: str
    aspect: str
    word: str
    said: str


def judge(comparison: Comparison) -> Qualities:
    """Words by the position in the table: the page does not know how they are found."""
    methods = [row.method for row in comparison.rows if row.train_seconds is not None]
    words = ("low", "medium", "high", "unknown")
    return Qualities(
        judgements=[
            Judgement(method, aspect, words[(m + a) % 4], f"{10 * m + a}%")
            for m, method in enumerate(methods)
            for a, aspect in enumerate(ASPECTS)
        ],
        legend={"compute": "training time, % of full's: low to 50, medium to 90"},
    )


def lineage(client: str = "fernwick", word: str = "") -> Lineage:
    """A lineage whose words are all `word` where one is given."""
    page = LineagePage(
        id=word or "peas",
        title=word or "Sweet peas",
        source=word or "/home/someone/posts.jsonl:3",
        sha256="0" * 64,
        url=word or None,
        retrieved=word or None,
        date=word or "2026-03-01",
        right=word or "owned",
    )
    return Lineage(
        draft=None,
        client=client,
        version=word or f"{client}@3",
        digest=word or "d1" * 32,
        made=word or "2026-11-20T10:00:00+00:00",
        method=word or "lora",
        settings={},
        run=word or "r1" * 32,
        template=word or "t1" * 32,
        base=LineageBase(
            name=word or "house", digest=word or "b1" * 32, parent=word or "small",
            parent_digest=word or "p1" * 32, rights={word or "owned": 40},
        ),
        dataset=word or f"{client}/2",
        dataset_digest=word or "s1" * 32,
        pages=(page,),
        heldout=6,
        withdrawn=2,
        rights={word or "owned": 1},
        live=True,
        evaluated=word or "passed",
    )  # fmt: skip


class Page(HTMLParser):
    """What a browser would find: tags with attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open and self.open[-1] == "mark":
            self.marks.append((self.tags[-1][1]["data-findings"] or "", data))

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def nasty_everywhere() -> str:
    """A page all of whose words are an attack."""
    finding = Finding(
        family=NASTY, rule=NASTY, severity="info", start=2, end=30, message=NASTY, source=NASTY
    )
    brief = replace(draft().brief, title=NASTY, keyword=NASTY, format=NASTY, points=(NASTY,))
    worst = Draft(
        client=NASTY, version=NASTY, brief=brief, title=NASTY, slug=NASTY,
        meta_description=NASTY, text=NASTY, findings=(finding,),
    )  # fmt: skip
    judged = Judgement(method=NASTY, aspect=NASTY, word=NASTY, said=NASTY)
    return render_report(
        title=NASTY,
        comparisons=[nasty()],
        drafts=[worst],
        lineages=[lineage(NASTY, NASTY)],
        generated=NASTY,
        judge=lambda _: Qualities(judgements=[judged], legend={NASTY: NASTY}),
    )
