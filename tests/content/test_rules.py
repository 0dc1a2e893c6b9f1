"""Rules as data: changed, waived, plugged in; and Vale's styles."""

import sys
from pathlib import Path

import pytest

from copydesk.content import (
    BUILT_IN,
    Standards,
    check,
    default_rules,
    installed_checks,
    make_brief,
    parse_waivers,
    read_client_rules,
    read_vale_styles,
)
from copydesk.errors import InvalidInput
from copydesk.records import StyleGuide

BRIEF = make_brief(title="Peas", keyword="peas")


def test_every_rule_has_a_family_a_source_and_a_severity() -> None:
    families = {check.name for check in BUILT_IN}
    for name, rule in default_rules().rules.items():
        assert rule.family in families, name
        assert rule.source
        assert rule.severity in ("error", "warning", "info")
        if rule.source not in ("brief", "client style guide") and "client" not in rule.source:
            assert rule.date or "search results" in rule.source, name


def test_findings_carry_source_and_date() -> None:
    (finding,) = [f for f in check("Beans.", brief=BRIEF) if f.rule == "keyword-in-first-paragraph"]
    assert finding.source == "convention: YoastSEO SCORING SEO.md"
    assert finding.date == "2026-11"


def test_a_client_changes_rules_in_its_guide() -> None:
    guide = StyleGuide(rules={"search/keyword-in-first-paragraph": {"severity": "error"}})
    found = {f.rule: f.severity for f in check("Beans.", brief=BRIEF, guide=guide)}
    assert found["keyword-in-first-paragraph"] == "error"
    off = StyleGuide(rules={"search/keyword-in-first-paragraph": {"on": False}})
    assert "keyword-in-first-paragraph" not in {f.rule for f in check("B.", brief=BRIEF, guide=off)}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"search/keyword": {"on": True}}, "search/keyword-density"),
        ({"search/keyword-density": {"mst": 3}}, "least, most"),
        ({"search/keyword-density": {"most": "three"}}, "must be a number"),
        ({"search/keyword-density": {"severity": "fatal"}}, "one of error, warning, info"),
        ({"style/person": {"avoid": "i"}}, "a list of words"),
    ],
)
def test_wrong_settings_are_named(rules: dict[str, dict[str, object]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        default_rules().changed(rules)  # type: ignore[arg-type]


def test_a_waived_finding_stays_listed_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[rules."style/person"]\navoid = ["i"]\n[waive]\n"search" = "A test."\n')
    client = read_client_rules(path)
    assert client.rules == {"style/person": {"avoid": ("i",)}}
    standards = Standards(waivers={**client.waivers, **parse_waivers(["evidence/author=Ours."])})
    found = {f.rule: f.waived for f in check("Beans.", brief=BRIEF, standards=standards)}
    assert found["keyword-in-first-paragraph"] == "A test."
    assert found["author"] == "Ours."
    for wrong in ("search/links", "=why", "search/links= "):
        with pytest.raises(InvalidInput, match="RULE=REASON"):
            parse_waivers([wrong])


@pytest.mark.parametrize("text", ["[rules", "other = 1", '[waive]\n"a" = ""', "[rules]\na = 1"])
def test_rules_files_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="rules file"):
        read_client_rules(path)


PLUGGED = """
from copydesk.content import Rule

class House:
    name = "house"
    rules = {"house/tea": Rule(name="house/tea", severity="info", source="us", values={"most": 0})}

    def findings(self, subject):
        rule = subject.rule("house/tea")
        if rule and subject.text.count("tea") > rule.number("most"):
            yield subject.finding(rule, (0, 0), "There is tea in it.")

house = House()
"""


def test_a_package_adds_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "house_check.py").write_text(PLUGGED)
    info = tmp_path / "house-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[copydesk.checks]\nhouse = house_check:house\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed_checks.cache_clear()
    try:
        assert [f.rule for f in check("A pot of tea.")] == ["tea"]
        lenient = StyleGuide(rules={"house/tea": {"most": 5}})
        assert check("A pot of tea.", guide=lenient) == ()
    finally:
        sys.modules.pop("house_check", None)
        installed_checks.cache_clear()


VALE = {
    "Avoid": 'extends: existence\nmessage: "Avoid %s."\nlevel: error\nignorecase: true\n'
    "tokens:\n  - very\n  - foo(?:bar)?\n",
    "Terms": "extends: substitution\nmessage: \"Use '%s', not '%s'.\"\nswap:\n  utilize: use\n",
    "Parens": "extends: occurrence\nmessage: Too many.\nscope: sentence\nmax: 1\ntoken: '\\('\n",
    "Heads": 'extends: capitalization\nmessage: "%s?"\nmatch: $title\n',
    "Twice": "extends: repetition\nmessage: \"'%s' twice.\"\ntokens:\n  - '[^\\s]+'\n",
    "Mixed": "extends: consistency\nmessage: \"Mixed '%s'.\"\neither:\n  advisor: adviser\n",
    "Script": "extends: script\nmessage: x\nscript: y\n",
}


def test_vale_styles_are_read_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "House"
    folder.mkdir()
    for name, text in VALE.items():
        (folder / f"{name}.yml").write_text(text)
    styles = read_vale_styles(tmp_path)
    assert styles.skipped == ("House.Script extends script, which is not read",)
    text = (
        "## an Old way\n\nVery foobar `very` food. We utilize it (so) (and so). It is is here.\n\n"
        "An advisor or adviser."
    )
    found = check(text, standards=Standards(styles=styles.rules))
    assert {(f.rule.removeprefix("House."), text[f.start : f.end]) for f in found} == {
        ("Avoid", "Very"), ("Avoid", "foobar"), ("Terms", "utilize"), ("Heads", "an Old way"),
        ("Parens", "We utilize it (so) (and so)."), ("Twice", "is is"), ("Mixed", "adviser"),
    }  # fmt: skip
    (wanted,) = [f.message for f in found if f.rule == "House.Terms"]
    assert wanted == "Use 'use', not 'utilize'."
    (folder / "Bad.yml").write_text("extends: existence\nmessage: m\ntokens: ['(']\n")
    with pytest.raises(InvalidInput, match=r"not understood.*Bad\.yml"):
        read_vale_styles(tmp_path)
