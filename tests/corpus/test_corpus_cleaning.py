"""Each step of cleaning on pages made for it, through `curate`."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.corpus import Curated, CurateSettings, curate, dataset_card
from copydesk.corpus._boilerplate import without_lines
from copydesk.corpus._quality import RULES
from copydesk.corpus._secrets import scrub
from copydesk.corpus._signals import line_hashes
from copydesk.corpus._words import _INVISIBLE, _MAYBE_MARKS, _stream_safe, clean_text
from copydesk.records import Document

NOUNS = (
    *("garden", "river", "table", "window", "letter", "market"),
    *("bridge", "candle", "harbour", "orchard", "kettle", "ladder"),
)
VERBS = ("holds", "finds", "keeps", "leaves", "shows", "brings", "turns", "follows", "opens")


def sentence(draw: random.Random) -> str:
    """Some English words in a row that hardly ever comes twice."""
    words: list[str] = []
    for _ in range(draw.randrange(5, 8)):
        words += [draw.choice(("the", "a", "of", "and", "with", "to")), draw.choice(NOUNS)]
        words.append(draw.choice(VERBS) if draw.random() < 0.5 else str(draw.randrange(1000)))
    return f"{' '.join(words).capitalize()}."


def text(seed: int, sentences: int = 14) -> str:
    draw = random.Random(seed)
    lines = [sentence(draw) for _ in range(sentences)]
    return "\n\n".join(" ".join(lines[at : at + 2]) for at in range(0, sentences, 2))


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"p{number:02}",
        "title": f"Page {number}",
        "text": text(number),
        "date": f"2024-01-{number + 1:02}",
        **fields,
    }


def curated(folder: Path, *extra: dict[str, Any], count: int = 12, **chosen: Any) -> Curated:
    path = folder / "pages.jsonl"
    records = [*(record(n) for n in range(count)), *extra]
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    violations = chosen.pop("violations", None)
    return curate([path], client="a", settings=CurateSettings(**chosen), violations=violations)


def kept(found: Curated) -> dict[str, Document]:
    return {item.id: item for item in (*found.train, *found.heldout) if isinstance(item, Document)}


def rules(found: Curated) -> dict[str | None, str]:
    return {rejection.id: rejection.rule for rejection in found.rejected}


def step(found: Curated, name: str) -> tuple[int, int, int, int]:
    (one,) = [one for one in found.funnel if one.step == name]
    return one.pages, one.rejected, one.changed, one.flagged


def test_every_page_is_accounted_for_by_the_funnel(tmp_path: Path) -> None:
    found = curated(
        tmp_path,
        record(20, text=text(3)),
        record(21, text="few words"),
        record(22, text="\n".join(["One line again and again, it is the same."] * 20)),
    )
    for before, after in zip(found.funnel, found.funnel[1:], strict=False):
        assert after.pages == before.pages - before.rejected
    last = found.funnel[-1]
    assert last.pages - last.rejected == len(found.train) + len(found.heldout) == 12
    assert sum(one.rejected for one in found.funnel) == len(found.rejected) == 3
    assert rules(found) == {
        "p20": "exact-duplicate",
        "p21": "too-short",
        "p22": "duplicate-lines",
    }


def test_a_rejection_has_its_value_and_threshold_and_keep_overrides_it(tmp_path: Path) -> None:
    bad = record(22, text="\n".join(["One line again and again, it is the same."] * 20))
    (rejection,) = curated(tmp_path, bad).rejected
    assert (rejection.id, rejection.value, rejection.threshold) == ("p22", 0.95, 0.3)
    assert "Gopher" in rejection.reason
    found = curated(tmp_path, bad, keep=frozenset({"p22"}))
    assert found.rejected == () and "p22" in kept(found)
    assert step(found, "quality")[3] == 1


@pytest.mark.parametrize(
    "extra", [{"text": "few words"}, {"text": text(3)}, {"text": text(3) + " One more."}]
)
def test_keep_takes_short_pages_and_duplicates_too(tmp_path: Path, extra: dict[str, str]) -> None:
    page = record(20, **extra)
    assert len(curated(tmp_path, page).rejected) == 1
    found = curated(tmp_path, page, keep=frozenset({"p20"}))
    assert "p20" in kept(found) and not found.rejected


def test_a_story_that_was_kept_twice_stays_on_one_side(tmp_path: Path) -> None:
    twin = record(20, text=text(3) + " One more.", date="2025-01-01")
    found = curated(tmp_path, twin, keep=frozenset({"p20"}))
    assert {"p03", "p20"} <= {item.id for item in found.train}
    assert [item.id for item in found.heldout] == ["p09", "p10", "p11"]


def test_product_and_social_copy_is_judged_by_its_own_thresholds(tmp_path: Path) -> None:
    draw = random.Random(5)
    bullets = "\n".join(f"- {draw.choice(NOUNS)} {n} cm" for n in range(40))
    shown = {name: record(30, text=bullets, format=name) for name in ("blog", "product")}
    assert set(rules(curated(tmp_path, shown["blog"]))) == {"p30"}
    assert not curated(tmp_path, shown["product"]).rejected
    for rule in RULES:
        for page_format in ("blog", "product", "social", "landing", "doc"):
            looser = rule.threshold(page_format) - rule.published
            assert looser >= 0 if rule.bound == "most" else looser <= 0


def test_a_page_in_another_language_is_rejected_unless_it_is_one_of_the_clients(
    tmp_path: Path,
) -> None:
    german = (
        "Der Garten liegt hinter dem Haus und wird im Sommer von den Nachbarn gepflegt. "
        "Wir freuen uns \u00fcber jede Hilfe und laden alle herzlich zum gemeinsamen Fest ein. "
        "Am Abend sitzen die Leute unter den alten Linden und reden von vergangenen Zeiten, "
        "w\u00e4hrend die Kinder zwischen den Beeten spielen und die Sonne langsam untergeht."
    )
    page = record(20, text=german, format="social")
    assert rules(curated(tmp_path, page)) == {"p20": "other-language"}
    assert not curated(tmp_path, page, languages=("en", "de")).rejected


def test_lines_of_the_site_go_and_headings_stay(tmp_path: Path) -> None:
    menu, footer = "Home | About | Contact us today", "Subscribe to our letter, every week."
    pages = [
        record(n, text=f"{menu}\n\n## Ingredients of it\n\n{text(n)}\n\n{footer}")
        for n in range(18, 30)
    ]
    found = curated(tmp_path, *pages, count=0)
    assert step(found, "boilerplate") == (12, 0, 12, 0)
    for number in range(18, 30):
        assert kept(found)[f"p{number}"].text == f"## Ingredients of it\n\n{text(number)}"


def test_pages_of_sites_are_counted_by_host(tmp_path: Path) -> None:
    line = "This line stands on every page of one site only."
    pages = [
        record(n, text=f"{line}\n\n{text(n)}", url=f"https://www.one.example/{n}")
        for n in range(20, 29)
    ]
    found = curated(tmp_path, *pages, count=20)
    assert all(line not in kept(found)[f"p{n}"].text for n in range(20, 29))
    assert kept(found)["p20"].url == "https://www.one.example/20"


def test_without_lines_leaves_other_text_as_it_was() -> None:
    body = "First thing here.\n\n```\nsome code here it is\n```\n\nLast thing here."
    assert without_lines(body, frozenset(line_hashes(["Not in it at all."]).tolist())) == body
    gone = frozenset(line_hashes(["first  THING here."]).tolist())
    assert without_lines(body, gone) == body.removeprefix("First thing here.\n\n")


SECRETS = {
    "AWS key": "AKIA" + "Q" * 16,
    "GitHub token": "ghp_" + "a1" * 18,
    "Stripe key": "sk_live_" + "a" * 24,
    "Slack token": "xoxb-" + "1" * 12,
    "Google key": "AIza" + "b" * 35,
    "JSON web token": f"eyJ{'a' * 20}.eyJ{'b' * 20}.{'c' * 20}",
    "card number": "4111 1111 1111 1111",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
}
CONTACTS = {
    "e-mail": ("jo.doe+x@mail.example.org",),
    "telephone": ("+44 20 7946 0958", "(415) 555-0134 22", "0049 30 901820"),
    "account": ("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_replaced_by_their_name(name: str) -> None:
    shown, counts = scrub(f"Use {SECRETS[name]} for it.\nAnd so on.", frozenset({"secret"}))
    assert shown == f"Use [{name}] for it.\nAnd so on."
    assert counts["secret"] == 1


@pytest.mark.parametrize(
    ("name", "written"), [(name, one) for name, forms in CONTACTS.items() for one in forms]
)
def test_contact_data_is_counted_or_replaced(name: str, written: str) -> None:
    line = f"Reach us: {written}, any day."
    assert scrub(line, frozenset()) == (line, {"secret": 0, "contact": 1})
    assert scrub(line, frozenset({"contact"}))[0] == f"Reach us: [{name}], any day."


@pytest.mark.parametrize(
    "harmless",
    [
        "In 2023-10-11 and 1998 - 2004 there were 1,234,567,890 of them.",
        "Order 4111 1111 1111 1112 and ISBN 978-3-16-148410-0.",
        "Version 1.2.3.4.5.6.7.8 at https://example.org/12345678901234",
        "It costs $12345678 or 1234567.89 and no more; sk-short and AKIASHORT.",
        "GB83 WEST 1234 5698 is no account.",
    ],
)
def test_other_numbers_stay(harmless: str) -> None:
    assert scrub(harmless, frozenset({"contact", "secret"})) == (
        harmless,
        {"secret": 0, "contact": 0},
    )


def test_secrets_go_and_contact_data_is_flagged_or_goes(tmp_path: Path) -> None:
    page = record(20, text=f"{text(20)}\n\nWrite to jo@example.org; key {SECRETS['AWS key']}.")
    other = record(21, text=f"{text(21)}\n\nWrite to jo@example.org.")
    found = curated(tmp_path, page, other)
    assert kept(found)["p20"].text.endswith("Write to jo@example.org; key [AWS key].")
    assert step(found, "secrets") == (14, 0, 1, 1)
    found = curated(tmp_path, page, other, contacts="scrub")
    assert kept(found)["p21"].text.endswith("Write to [e-mail].")


def test_pages_that_break_the_style_guide_are_not_taught(tmp_path: Path) -> None:
    pages = [record(20, text=f"{text(20)} synergy" + " synergy" * 5), record(21)]

    def violations(page: Document) -> int:
        return page.text.count("synergy")

    found = curated(tmp_path, *pages, violations=violations)
    (rejection,) = found.rejected
    assert (rejection.id, rejection.rule, rejection.threshold) == ("p20", "style-violations", 20)
    assert not curated(tmp_path, *pages, violations=violations, most_violations=100).rejected


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.text(st.sampled_from("ab \n\u0007\u0085\ufeff\u2028\u2029\r\x7f\u0301\u4e2d"), max_size=90)
)
def test_looking_at_bytes_first_changes_nothing(said: str) -> None:
    lines = said.replace("\r\n", "\n").replace("\r", "\n")
    always = lines.replace("\u2028", "\n").replace("\u2029", "\n\n").translate(_INVISIBLE)
    assert clean_text(said) == clean_text(_MAYBE_MARKS.sub(_stream_safe, always))


def test_the_card_tells_of_steps_rights_time_and_samples(tmp_path: Path) -> None:
    found = curated(
        tmp_path,
        record(20, right="licence:CC0-1.0"),
        record(21, text="few words"),
    )
    card = dataset_card(
        "a",
        train=found.train,
        heldout=found.heldout,
        rejected=found.rejected,
        funnel=found.funnel,
        split=found.split,
    )
    text_, page = card
    for line in (
        "| read | 14 | 1 | 0 | 0 | 13 |",
        "| too-short | 1 |",
        "| licence:CC0-1.0 | 0 | 1 |",
        "| trained on | 2024-01-01 | 2024-01-10 |",
        "| held out | 2024-01-11 | 2024-01-21 |",
        "| blog | 10 | 3 |",
        "| short | 10 | 3 |",
    ):
        assert line in text_
    assert page.count("<table>") == len(re.findall("^[|] --- ", text_, re.MULTILINE)) == 7
    assert "<b>" not in page and "<script" not in page
    assert text_.count("\n> **Page ") == 3
