"""The report: figures and spans are there, strangers' text is only text, nothing is loaded."""

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from copydesk.app.report import render_report
from copydesk.content import TrainingIndex, check, make_brief
from copydesk.records import Comparison, Draft, Finding, LossPoint, MethodRow, StyleGuide

NASTY = '<script>alert("x")</script>\'"><img src=https://evil.example/x.png onerror=alert(1)>'


def curve(
    seconds: float, steps: int, best: float, *, start: float = 3.226
) -> tuple[LossPoint, ...]:
    """A made-up training curve that falls from `start` towards `best`."""
    points: list[LossPoint] = []
    for step in range(steps + 1):
        level = best + (start - best) * math.exp(-3.2 * step / steps)
        wave = 0.05 * math.sin(step * 2.7) + 0.03 * math.sin(step * 7.1)
        held = level if step % 6 == 0 else None
        points.append(
            LossPoint(
                step=step,
                seconds=seconds * step / steps,
                train_loss=None if step == 0 else level - 0.06 * step / steps + wave,
                heldout_loss=held,
            )
        )
    return tuple(points)


def comparison(client: str = "fernwick") -> Comparison:
    """Six methods, one of which ran out of memory."""
    return Comparison(
        client=client,
        base="smollm2-135m",
        created="2026-11-24T11:05:00+00:00",
        machine="2-core AVX-512 CPU, 16 GB",
        train_documents=96,
        heldout_documents=24,
        train_tokens=38_400,
        heldout_tokens=9_812,
        verdict=(
            f"For {client}, LoRA reached 93% of full fine-tuning\u2019s gain in 72% of its time and"
            " 61% of its memory, and its file is 140 times smaller: use LoRA."
        ),
        versions={"copydesk": "0.1.0", "torch": "2.13.0", "peft": "0.21.0"},
        settings={
            "lora": {"lora_r": "16", "lora_alpha": "32", "target_modules": "all-linear"},
            "full": {"dtype": "float32"},
        },
        rows=(
            MethodRow(
                method="base", status="done", heldout_loss=3.226, heldout_loss_ci=(3.101, 3.362),
                relative_performance=0.0, general_loss=2.71, others_loss=3.31,
            ),
            MethodRow(
                method="prompted", status="done", heldout_loss=3.118, heldout_loss_ci=(2.99, 3.26),
                relative_performance=36.7, relative_performance_ci=(28.0, 45.0),
            ),
            MethodRow(
                method="lora", status="done", learning_rate=2e-3, trainable_parameters=4_884_480,
                peak_memory_bytes=4_100_000_000, train_seconds=297.3, cost_usd=0.02,
                heldout_loss=2.952, heldout_loss_ci=(2.838, 3.071), relative_performance=93.2,
                relative_performance_ci=(88.0, 97.4), forgetting=0.012, others_change=-0.094,
                artifact_bytes=19_600_000, tokens_per_second=282.4, clients_in_pass=3,
                curve=curve(297.3, 24, 2.94),
            ),
            MethodRow(
                method="qlora", status="done", learning_rate=2e-3, trainable_parameters=4_884_480,
                peak_memory_bytes=2_900_000_000, train_seconds=368.0, cost_usd=0.03,
                heldout_loss=2.981, heldout_loss_ci=(2.86, 3.11), relative_performance=83.4,
                relative_performance_ci=(77.0, 90.1), forgetting=0.009, others_change=-0.08,
                artifact_bytes=19_600_000, tokens_per_second=231.0, curve=curve(368.0, 24, 2.97),
            ),
            MethodRow(
                method="full", status="done", learning_rate=1e-4, trainable_parameters=134_515_008,
                peak_memory_bytes=6_700_000_000, train_seconds=411.9, cost_usd=0.03,
                heldout_loss=2.932, heldout_loss_ci=(2.81, 3.06), relative_performance=100.0,
                forgetting=0.051, others_change=-0.11, artifact_bytes=538_000_000,
                tokens_per_second=127.2, curve=curve(411.9, 24, 2.92),
            ),
            MethodRow(
                method="dora", status="out_of_memory", learning_rate=2e-3,
                error="needs 17.2 GB, the machine has 16 GB",
            ),
        ),
    )  # fmt: skip


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


def test_figures_names_and_reasons_are_there() -> None:
    html = render_report(
        title="Autumn report", comparisons=[comparison()], drafts=[draft()], generated="2026-11-24"
    )
    text = Page(html).text
    for said in [
        "Autumn report", "Made 24 November 2026", comparison().verdict, "Untuned base",
        "Base + style guide and examples in prompt", "LoRA", "Full fine-tuning", "2.952",
        "2.838 to 3.071", "93%", "88 to 97%", "4.9 M", "4.1 GB", "4 min 57 s", "$0.02", "282",
        "20 MB", "538 MB", "+0.012", "\u22120.094", "2-core AVX-512 CPU, 16 GB", "torch 2.13.0",
        "24 November 2026, 11:05 UTC", "lora_r 16", "learning_rate 0.002", "96 training pages",
        "Ran out of memory: needs 17.2 GB, the machine has 16 GB", "/strawberry-runners-and",
        "How to read this", "client style guide", "Draft by fernwick@3",
    ]:  # fmt: skip
        assert said in text, said
    assert "pass of 3 clients" in Page(html).text


def test_the_page_is_well_formed_and_ids_are_the_only_ones() -> None:
    html = render_report(
        title="t",
        comparisons=[comparison(), comparison("kestrel"), comparison("kestrel")],
        drafts=[draft(), draft(), draft("moonmilk")],
        generated="today",
    )
    page = Page(html)
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for key in ("href", "aria-labelledby"):
            for target in (attrs.get(key) or "").split():
                if target != "data:,":
                    assert target.lstrip("#") in ids
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(drawings) == 9
    assert all(attrs["role"] == "img" for attrs in drawings)


def test_marks_are_the_findings_spans() -> None:
    text = "One two three four five six."
    spans = [(4, 13), (8, 18), (8, 13), (19, 28), (0, 0), (3, 99), (27, 28)]
    findings = tuple(
        Finding(
            family="style", rule="banned-word", severity="error" if n % 2 else "warning",
            start=start, end=end, message=f"message {n}", source="client style guide",
        )
        for n, (start, end) in enumerate(spans)
    )  # fmt: skip
    page = Page(
        render_report(
            title="t",
            comparisons=[],
            drafts=[replace(draft(), text=text, findings=findings)],
            generated="now",
        )
    )
    placed = sorted(span for span in spans if span[0] < span[1] <= len(text))
    for number, (start, end) in enumerate(placed, start=1):
        pieces = [data for numbers, data in page.marks if str(number) in numbers.split()]
        assert "".join(pieces) == text[start:end]
    for n in range(len(spans)):
        assert f"message {n}" in page.text
    assert "3 errors, 4 warnings" in page.text


def test_every_real_finding_is_marked_exactly() -> None:
    made = draft()
    page = Page(render_report(title="t", comparisons=[], drafts=[made], generated="now"))
    placed = sorted(
        (finding for finding in made.findings if finding.start < finding.end),
        key=lambda finding: (finding.start, finding.end),
    )
    assert len(placed) >= 7
    for number, finding in enumerate(placed, start=1):
        pieces = [data for numbers, data in page.marks if str(number) in numbers.split()]
        assert "".join(pieces) == made.text[finding.start : finding.end]


def nasty_everywhere() -> str:
    row = MethodRow(method=NASTY, status="failed", error=NASTY, curve=curve(9, 12, 2.9))
    lost = replace(row, status="done", error=None, heldout_loss=2.9)
    bad = replace(
        comparison(), client=NASTY, base=NASTY, machine=NASTY, verdict=NASTY, created=NASTY,
        versions={NASTY: NASTY}, settings={NASTY: {NASTY: NASTY}}, rows=(row, lost),
    )  # fmt: skip
    finding = Finding(
        family=NASTY, rule=NASTY, severity="info", start=2, end=30, message=NASTY, source=NASTY
    )
    brief = replace(draft().brief, title=NASTY, keyword=NASTY, format=NASTY, points=(NASTY,))
    worst = Draft(
        client=NASTY, version=NASTY, brief=brief, title=NASTY, slug=NASTY,
        meta_description=NASTY, text=NASTY, findings=(finding,),
    )  # fmt: skip
    return render_report(title=NASTY, comparisons=[bad], drafts=[worst], generated=NASTY)


def test_strangers_text_stays_text() -> None:
    html = nasty_everywhere()
    page = Page(html)
    assert page.open == []
    assert page.text.count('alert("x")') > 20
    active = {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "input",
        "base",
        "foreignobject",
    }
    for tag, attrs in page.tags:
        assert tag not in active
        assert not any(name.startswith("on") for name in attrs)


@pytest.mark.parametrize("nasty", [False, True])
def test_nothing_is_loaded(nasty: bool) -> None:
    html = nasty_everywhere() if nasty else render_report(
        title="t", comparisons=[comparison()], drafts=[draft()], generated="now"
    )  # fmt: skip
    for tag, attrs in Page(html).tags:
        assert "src" not in attrs
        assert tag not in {"script", "img", "iframe", "object", "embed", "base"}
        assert (attrs.get("href") or "#").startswith(("#", "data:,"))
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_nothing_to_report() -> None:
    page = Page(render_report(title="Empty", comparisons=[], drafts=[], generated=""))
    assert "Nothing has been measured or written yet" in page.text


def test_missing_and_endless_figures_are_dashes() -> None:
    rows = (
        MethodRow(method="lora", status="done"),
        MethodRow(
            method="full", status="diverged", heldout_loss=math.nan, forgetting=math.inf,
            heldout_loss_ci=(math.nan, 3.0), train_seconds=math.inf,
            curve=(LossPoint(step=0, seconds=math.nan), LossPoint(step=1, seconds=1.0)),
        ),
        MethodRow(
            method="dora", status="done", heldout_loss=3.0, heldout_loss_ci=(3.0, 3.0),
            curve=(LossPoint(step=0, seconds=0.0, heldout_loss=3.0),),
        ),
    )  # fmt: skip
    for chosen in [rows, rows[:1], rows[:2], ()]:
        bare = replace(comparison(), rows=chosen, verdict="", machine="", versions={}, settings={})
        page = Page(render_report(title="t", comparisons=[bare], drafts=[], generated=""))
        assert page.open == []
        assert "nan" not in page.text.lower().split()
        assert "inf" not in page.text.lower().split()
        assert "None" not in page.text
    bare_draft = Draft(
        client="c", version="b", brief=make_brief(title="t"), title="t", slug="t",
        meta_description="", text="",
    )  # fmt: skip
    page = Page(render_report(title="t", comparisons=[], drafts=[bare_draft], generated=""))
    assert "No findings" in page.text


CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    webdriver = pytest.importorskip("selenium.webdriver")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ]:  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("nasty", [False, True])
def test_the_page_fits_its_window(browser: object, tmp_path: Path, width: int, nasty: bool) -> None:
    drive = browser
    path = tmp_path / "report.html"
    html = nasty_everywhere() if nasty else render_report(
        title="Autumn report for a long-named agency",
        comparisons=[comparison(), comparison("kestrel")],
        drafts=[draft()],
        generated="now",
    )  # fmt: skip
    path.write_text(html, encoding="utf-8")
    drive.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    drive.get(path.as_uri())  # type: ignore[attr-defined]
    run = drive.execute_script  # type: ignore[attr-defined]
    assert run("return innerWidth") == width
    root = "document.documentElement"
    assert run(f"return {root}.scrollWidth") <= run(f"return {root}.clientWidth")
    assert drive.get_log("browser") == []  # type: ignore[attr-defined]
