"""The report: figures and spans are there, strangers' text is only text, nothing is loaded."""

import itertools
import math
import re
from dataclasses import replace

import pytest
from comparisons import old_comparison, whole, with_problems
from pages import Page, draft, judge, lineage, nasty_everywhere

from copydesk.app.report import render_report
from copydesk.content import make_brief
from copydesk.records import Draft, Finding, LossPoint, MethodRow


def test_figures_names_and_reasons_are_there() -> None:
    html = render_report(
        title="Autumn report",
        comparisons=[old_comparison()],
        drafts=[draft()],
        generated="2026-11-24",
    )
    text = Page(html).text
    for said in [
        "Autumn report", "Made 24 November 2026", old_comparison().verdict, "Untuned base",
        "Base + style guide and examples in prompt", "LoRA", "Full fine-tuning", "2.952",
        "2.838 to 3.071", "93%", "88 to 97%", "4.9 M", "4.1 GB", "4 min 57 s", "$0.020",
        "20 MB", "538 MB", "+0.012", "\u22120.094", "2-core AVX-512 CPU, 16 GB", "torch 2.13.0",
        "24 November 2026, 11:05 UTC", "lora_r 16", "learning_rate 0.002", "96 training pages",
        "Ran out of memory: needs 17.2 GB, the machine has 16 GB", "/strawberry-runners-and",
        "How to read this", "client style guide", "Draft by fernwick@3",
    ]:  # fmt: skip
        assert said in text, said
    assert "pass of 3 clients" in Page(html).text


def test_a_versions_origin_is_there_and_long_ones_are_cut() -> None:
    one = lineage()
    many = replace(lineage("moonmilk"), pages=one.pages * 250, evaluated="forgetting, voice_gain")
    text = Page(
        render_report(
            title="t", comparisons=[], drafts=[draft()], lineages=[one, many], generated="now"
        )
    ).text
    for said in [
        "Where fernwick@3 comes from", "fernwick@3 d1d1d1d1d1d1, made 2026-11-20", "Gatespassed",
        "r1r1r1r1r1r1, LoRA", "house b1b1b1b1b1b1, tuned from small on pages by right: 40 owned",
        "fernwick/2 s1s1s1s1s1s1: 1 page trained on, 6 held out", "Rights1 owned",
        "Withdrawn since2 pages", "Sweet peas",
        "posts.jsonl:3", "no: forgetting, voice_gain", "and 50 more; copydesk lineage moonmilk@3",
    ]:  # fmt: skip
        assert said in text, said
    assert "/home/someone" not in text


def test_the_page_is_well_formed_and_ids_are_the_only_ones() -> None:
    html = render_report(
        title="t",
        comparisons=[old_comparison(), old_comparison("kestrel"), old_comparison("kestrel")],
        drafts=[draft(), draft(), draft("moonmilk")],
        lineages=[lineage(), lineage("moonmilk")],
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
    assert len([tag for tag, _ in page.tags if tag == "article"]) == 6


@pytest.mark.parametrize("methods", [0, 1, 3, 7])
def test_the_page_can_be_read_without_seeing_it(methods: int) -> None:
    html = render_report(
        title="t", comparisons=[whole(methods)], drafts=[draft()], generated="now", judge=judge
    )
    page = Page(html)
    pictures = re.findall(r"<svg\b.*?</svg>", html, re.DOTALL)
    named = [one for one in pictures if 'role="img"' in one]
    assert len(named) == (10 if methods else 1)
    for one in pictures:
        if one in named:
            assert re.search(r"<title[^>]*>[^<]+</title><desc[^>]*>[^<]+</desc>", one)
        else:
            assert 'aria-hidden="true"' in one.split(">")[0]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        assert re.search(r"<caption[^>]*>[^<]+</caption>", table)
        heads = re.findall(r"<th\b[^>]*>", table)
        assert len(heads) > 2
        assert all('scope="' in head for head in heads)
    figures = re.findall(r"<figure\b.*?</figure>", html, re.DOTALL)
    assert all(one.count("<table>") == 1 for one in figures)
    assert len(figures) == (1 if not methods else 5)


def test_all_that_was_measured_is_said() -> None:
    page = Page(
        render_report(title="t", comparisons=[whole(3)], drafts=[], generated="now", judge=judge)
    )
    for said in [
        "Use LoRA: it reached 96% of full fine-tuning\u2019s gain (95% interval 91 to 101), tied"
        " with full fine-tuning, QLoRA and DoRA, in 72% of full\u2019s training time with 61% of"
        " full\u2019s memory.",
        "LoRA Recommended tied with full fine-tuning, QLoRA and DoRA mean of 3 runs",
        "58 min 8 s spent of 1 h", "3 clients pooled", "2 min 29 s", "3 min 58 s", "9.6",
        "Learning rates tried: 9 short runs, 3 min 6 s in all, 5% of the comparison", "diverged",
        "LoRA Chosen 0.001 2.980 20 s", "Within 10% of the prediction: 2 of 3 memory figures and"
        " 2 of 3 times.", "6.5 GB 6.7 GB +3%", "\u221221 points", "The same in words",
        "high 20%" , "not measured", "training time, % of full's: low to 50, medium to 90",
        "Pareto front",
    ]:  # fmt: skip
        assert said in page.text, said


def test_a_method_that_did_not_end_keeps_its_row_and_its_reason() -> None:
    page = Page(render_report(title="t", comparisons=[with_problems()], drafts=[], generated="now"))
    for said in [
        "Cut short by the budget: after 14 of 24 steps", "Training diverged: loss 41.2 at step 6",
        "Ran out of memory: needs 17.2 GB, the machine has 16 GB", "QLoRA 95% (cut)",
    ]:  # fmt: skip
        assert said in page.text, said


def test_a_comparison_from_before_shows_what_it_has() -> None:
    page = Page(
        render_report(title="t", comparisons=[old_comparison()], drafts=[], generated="now")
    )
    for said in ["Learning rates tried", "Predicted", "an epoch", "merged", "Recommended", "Tied"]:
        assert said not in page.text, said
    assert "Quality against cost" in page.text
    assert "Loss on general text" in page.text


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
        title="t", comparisons=[old_comparison()], drafts=[draft()], generated="now"
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
        bare = replace(
            old_comparison(), rows=chosen, verdict="", machine="", versions={}, settings={}
        )
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
