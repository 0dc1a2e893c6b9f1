"""Each rule with the text it should and should not speak of, and spans that always hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.content import (
    ShingleIndex,
    Standards,
    TrainingIndex,
    check,
    default_rules,
    make_brief,
)
from copydesk.records import Brief, Finding, StyleGuide


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [f"{finding.family}/{finding.rule}" for finding in findings]


def only(findings: tuple[Finding, ...], *families: str) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.family in families)


def marked(text: str, findings: tuple[Finding, ...]) -> list[str]:
    return [text[finding.start : finding.end] for finding in findings]


def words(count: int) -> str:
    """So many different words."""
    return " ".join(f"w{n}" for n in range(count))


def test_nothing_given_nothing_said() -> None:
    assert check("We sow peas in March.") == ()
    assert check("") == ()


@pytest.mark.parametrize(
    ("count", "severity"),
    [(100, None), (75, None), (125, None), (74, "warning"), (126, "warning"), (49, "error")],
)
def test_length_against_the_brief(count: int, severity: str | None) -> None:
    guide = StyleGuide(length={"blog": (1, 2)})
    brief = make_brief(title="T", length=100)
    findings = only(check(words(count), brief=brief, guide=guide), "length")
    assert [finding.severity for finding in findings] == ([severity] if severity else [])
    for finding in findings:
        assert (finding.start, finding.end, finding.source) == (0, 0, "brief")
        assert f"has {count} words" in finding.message


@pytest.mark.parametrize(
    ("count", "severity"),
    [(100, None), (200, None), (99, "warning"), (250, "warning"), (74, "error"), (251, "error")],
)
def test_length_against_the_guide(count: int, severity: str | None) -> None:
    guide = StyleGuide(length={"blog": (100, 200)})
    findings = only(check(words(count), brief=make_brief(title="T"), guide=guide), "length")
    assert [finding.severity for finding in findings] == ([severity] if severity else [])
    social = make_brief(title="T", format="social")
    assert only(check(words(count), brief=social, guide=guide), "length") == ()


@pytest.mark.parametrize(
    ("banned", "text", "found"),
    [
        ("hack", "Hack it. A hack\u2019s hacks, hacking; pea-hack.", ["Hack", "hack", "hack"]),
        ("don't miss out", "So DON\u2019T  miss\nout, friends.", ["DON\u2019T  miss\nout"]),
        ("don\u2019t miss out", "do not; don't **miss** out", ["don't **miss** out"]),
        ("look no further", "look no.\n\nFurther down, look no\n\nfurther", []),
        ("must-have", "You must have a permit. A must\u2011have!", ["must\u2011have"]),
        ("game changer", "A game-changer, game changer.", ["game-changer", "game changer"]),
        ("don", "We don't, don he does.", ["don"]),
        ("oasis", "See [it](https://example.com/oasis) at https://oasis.example/oasis", []),
        ("r\u00e9sum\u00e9", "A re\u0301sume\u0301, a resume.", ["re\u0301sume\u0301"]),
        ("leverage", "lever\u00adage and \u200bleverage", ["lever\u00adage", "leverage"]),
        ("!", "Hurry! Now!", ["!", "!"]),
        ("C++", "C and C++ and C+", ["C++"]),
        ("Stra\u00dfe", "die STRASSE", ["STRASSE"]),
        ("\u6700\u9ad8", "\u3053\u308c\u306f\u6700\u9ad8\u3067\u3059", ["\u6700\u9ad8"]),
        ("  ", "nothing at all", []),
    ],
)
def test_banned_words(banned: str, text: str, found: list[str]) -> None:
    findings = check(text, guide=StyleGuide(banned=(banned, banned.upper())))
    assert marked(text, findings) == found
    for finding in findings:
        assert (finding.family, finding.rule) == ("style", "banned-word")
        assert (finding.severity, finding.source) == ("error", "client style guide")


def test_a_banned_word_in_the_title_is_about_the_whole() -> None:
    guide = StyleGuide(banned=("ultimate",))
    (finding,) = check("Peas.", title="The Ultimate Pea", guide=guide)
    assert (finding.start, finding.end) == (0, 0)
    assert "title" in finding.message


@pytest.mark.parametrize(
    ("avoided", "wanted", "text", "found"),
    [
        ("yard", "garden", "The Yard; a yard, yards.", ["Yard", "yard"]),
        ("site", "web site", "A site, not a Web site.", ["site"]),
        ("github", "GitHub", "github, GitHub, Github", ["github", "Github"]),
        ("fertiliser", "feed", "feed it", []),
    ],
)
def test_preferred_terms(avoided: str, wanted: str, text: str, found: list[str]) -> None:
    findings = check(text, guide=StyleGuide(prefer={avoided: wanted}))
    assert marked(text, findings) == found
    assert all(wanted in finding.message for finding in findings)
    assert all(finding.rule == "preferred-term" for finding in findings)


@pytest.mark.parametrize(
    ("keyword", "sentence", "present"),
    [
        ("strawberry runners", "A *Strawberry* runner, pegged.", True),
        ("water bladder", "The water-bladders hold 3 liters.", True),
        ("berry box", "Our berries\u2019 boxes are full. Berry boxes!", True),
        ("berry box", "Our berries. Boxes follow.", False),
        ("pea", "The pears are ripe.", False),
        ("glass", "One glass.", True),
        ("saffron milk", "milk with saffron", False),
    ],
)
def test_keyword(keyword: str, sentence: str, present: bool) -> None:
    brief = make_brief(title=sentence, keyword=keyword)
    text = f"## {keyword}\n\n![{keyword}](a.png)\n\n{sentence}\n\nMore of {keyword}."
    heads = ("keyword-in-title", "keyword-in-first-paragraph")
    findings = tuple(item for item in check(text, brief=brief) if item.rule in heads)
    if present:
        assert findings == ()
    else:
        whole, paragraph = findings
        assert rules(findings) == ["search/keyword-in-title", "search/keyword-in-first-paragraph"]
        assert (whole.start, whole.end) == (0, 0)
        assert text[paragraph.start : paragraph.end] == sentence
        assert paragraph.source == "convention: YoastSEO SCORING SEO.md"


def test_the_given_title_counts_and_no_keyword_says_nothing() -> None:
    brief = make_brief(title="peas", keyword="peas")
    found = rules(check("All peas.", brief=brief, title="Beans"))
    assert "search/keyword-in-title" in found
    assert "search/keyword-in-first-paragraph" not in found
    unwritten = Brief(title="Beans", format="blog", keyword="\u2026")
    assert not any("keyword" in rule for rule in rules(check("Beans.", brief=unwritten)))


PAGE = " ".join(f"page{n}" for n in range(100))


@pytest.mark.parametrize(("copied", "severity"), [(11, None), (12, "warning"), (25, "error")])
def test_verbatim_runs(copied: int, severity: str | None) -> None:
    index = TrainingIndex.build([("peas-2024", PAGE)])
    run = " ".join(f"Page{n}," for n in range(30, 30 + copied))
    text = f"Ours first. {run} and ours."
    findings = check(text, index=index)
    assert [finding.severity for finding in findings] == ([severity] if severity else [])
    for finding in findings:
        assert text[finding.start : finding.end] == run.rstrip(",")
        assert f"{copied} words" in finding.message
        assert "peas-2024" in finding.message
    lenient = default_rules().changed({"originality/verbatim-run": {"warn": 99}})
    assert check(text, standards=Standards(index=index, rules=lenient)) == ()


LINE = "There is no hurry at all."


def test_a_sentence_said_three_times_is_a_loop() -> None:
    text = f"{LINE} One thing first. {LINE} Another thing. {LINE}"
    findings = check(text)
    assert rules(findings) == ["repetition/loop"] * 2
    assert marked(text, findings) == [LINE[:-1], LINE[:-1]]
    assert all("3 times" in finding.message for finding in findings)
    assert check(f"{LINE} One thing first. {LINE} Another.") == ()
    assert check("No. Yes. No. Well. No. Perhaps.") == ()


def test_a_run_on_loop_is_one_error_from_its_second_round() -> None:
    text = "We sow " + "the small round pea and then the bean or " * 5
    (finding,) = check(text)
    assert finding.severity == "error"
    assert finding.start == text.index("the small", 20)
    assert finding.end == len(text.rstrip())


def test_repeats_in_a_long_draft_only_warn() -> None:
    filler = [words(300), words(600)[len(words(300)) :]]
    text = f"{LINE} {filler[0]}. {LINE} {filler[1]}. {LINE}"
    found = only(check(text), "repetition")
    assert {finding.severity for finding in found} == {"warning"}


def test_findings_stand_in_the_order_of_the_text() -> None:
    guide = StyleGuide(banned=("hack", "yard"), prefer={"yard": "garden"})
    brief = make_brief(title="T", length=500, keyword="peas")
    findings = check("A hack in the yard. A hack.", brief=brief, guide=guide)
    assert list(findings) == sorted(findings, key=lambda f: (f.start, f.rule))
    assert {f.rule for f in findings} == {
        "words", "keyword-in-title", "keyword-in-first-paragraph", "banned-word",
        "preferred-term", "author",
    }  # fmt: skip


STRICT = default_rules().changed(
    {
        "originality/verbatim-run": {"warn": 2, "error": 4},
        "repetition/loop": {"words": 2},
        "style/oxford-comma": {"use": "always"},
        "style/contractions": {"use": "never"},
        "style/person": {"avoid": ("i", "we", "you")},
        "style/numbers": {"spell_below": 10},
        "style/heading-case": {"use": "sentence"},
        "style/sentence-length": {"most": 4},
        "style/exclamation-marks": {"most": 0},
    }
)
some_text = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            ["pea", "peas", "don\u2019t", " ", "\n", "\n\n", "# ", "- ", ". ", "**", "](", "\u00df",
             "\u0130", "e\u0301", "\u200b", "http://pea ", "1. ", "!", "\u6700", "---\n", "\ud800"]
        ),
        max_size=60,
    ).map("".join),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    text=some_text,
    title=st.none() | some_text,
    term=some_text,
    other=some_text,
    keyword=st.none() | some_text,
    page=some_text,
)
def test_no_text_breaks_a_check(
    text: str, title: str | None, term: str, other: str, keyword: str | None, page: str
) -> None:
    findings = check(
        text,
        title=title,
        brief=Brief(title="pea", format="blog", keyword=keyword, length=20),
        standards=Standards(
            guide=StyleGuide(banned=(term, "pea"), prefer={other: term, term: other}),
            index=TrainingIndex.build([("page", page), ("same", text)]),
            others=[ShingleIndex.build([page, text], kind="client", key=b"k" * 32)],
            rules=STRICT,
        ),
    )
    for finding in findings:
        assert 0 <= finding.start <= finding.end <= len(text)
        assert finding.message
        assert finding.source
    assert list(findings) == sorted(findings, key=lambda f: (f.start, f.rule))


@pytest.mark.parametrize(
    "piece",
    [
        "." * 50,
        "a. ",
        "# a\n",
        "](",
        "(a",
        "- ",
        "peas ",
        "\n \n",
        "don't ",
        "http://a ",
        "`",
        "<!-- ",
    ],
)
def test_a_large_text_is_checked_in_time(piece: str) -> None:
    """What takes quadratic time meets the suite's time limit here."""
    text = (piece * 60_000)[:60_000] + "x"
    findings = check(
        text,
        brief=make_brief(title="T", keyword="green peas", length=100),
        guide=StyleGuide(banned=("don't miss", "peas"), prefer={"pea": "peas"}),
        index=TrainingIndex.build([("a", text[:30_000])]),
    )
    assert all(0 <= item.start <= item.end <= len(text) for item in findings)
