"""Choosing a method: by publications, by comparisons, and what would change the mind."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from copydesk.errors import InvalidInput, OutOfMemory
from copydesk.models import METHODS
from copydesk.records import Choice, Comparison, MethodRow, SweptRate
from copydesk.study import FACTS, Forecast, Situation, choose, measured_forecasts, read_rules

ALONE = Situation(pages=24, tokens=10_000, names=("acme",), base="tiny")
AGENCY = replace(ALONE, clients=3)
LORA = Forecast(trainable_parameters=5_000_000, peak_memory_bytes=2 * 10**9, epoch_seconds=60)
FULL = Forecast(trainable_parameters=135_000_000, peak_memory_bytes=4 * 10**9, epoch_seconds=90)
QLORA = replace(LORA, peak_memory_bytes=10**9, epoch_seconds=80)


def compared(
    share: float,
    *,
    client: str = "acme",
    half: float = 2.0,
    pages: int = 24,
    base: str = "tiny",
    method: str = "lora",
    **others: Any,
) -> Comparison:
    """A comparison in which a method had this share of full's gain, and an interval around it."""
    row = MethodRow(
        method=method,
        status="done",
        relative_performance=share,
        relative_performance_ci=(share - half, share + half),
        **others,
    )
    full = MethodRow(
        method="full",
        status="done",
        relative_performance=100.0,
        relative_performance_ci=(100.0, 100.0),
    )
    return Comparison(
        client=client,
        base=base,
        created="2026-11-24T12:00:00+00:00",
        machine="here",
        train_documents=pages,
        heldout_documents=6,
        train_tokens=10_000,
        heldout_tokens=2_000,
        rows=(row, full),
        verdict="",
    )


def said(choice: Choice) -> str:
    return " ".join(reason.text for reason in choice.reasons)


def test_a_small_set_of_an_agency_gets_lora_with_its_sources() -> None:
    choice = choose(AGENCY)
    assert choice.method == "lora"
    assert choice.settings["target_modules"] == "all-linear"
    assert "10,000 tokens" in said(choice)
    assert any("LoRA Without Regret" in reason.source for reason in choice.reasons)
    assert any("3 clients a base of its own" in reason.text for reason in choice.reasons)
    assert set(choice.scores) == set(METHODS)
    assert list(choice.scores.values()) == sorted(choice.scores.values(), reverse=True)
    assert list(choice.scores)[:2] == [choice.method, choice.runner_up]


def test_a_foundation_is_tuned_in_full() -> None:
    choice = choose(replace(ALONE, purpose="foundation", tokens=50_000_000, pages=100_000))
    assert choice.method == "full"
    assert "continued pre-training" in said(choice)


@pytest.mark.parametrize(("needed", "rank"), [(10, None), (40, "64"), (200, "256")])
def test_the_rank_follows_from_what_the_pages_hold(needed: int, rank: str | None) -> None:
    # Two bits a parameter, one bit a token; 312,500 parameters a rank.
    tokens = needed * 2 * LORA.trainable_parameters // 16  # pyright: ignore[reportOperatorIssue]
    choice = choose(replace(ALONE, tokens=tokens, candidates=("lora",), forecasts={"lora": LORA}))
    assert choice.settings.get("lora_r") == rank
    assert choice.settings.get("lora_alpha") == (str(2 * int(rank)) if rank else None)
    assert choice.runner_up == "" and choice.would_change == ()
    if rank:
        assert f"Rank {rank}: rank {needed} " in said(choice)


def test_a_measured_loss_sets_the_bits_of_a_token() -> None:
    tokens = 2 * LORA.trainable_parameters  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
    known = replace(ALONE, tokens=tokens, candidates=("lora",), forecasts={"lora": LORA})
    assert "lora_r" not in choose(known).settings, "one bit a token just fits"
    assert choose(replace(known, base_loss=2 * math.log(2))).settings["lora_r"] == "64"


def test_what_does_not_fit_into_memory_is_left_out_and_said() -> None:
    forecasts = {"lora": LORA, "full": FULL, "qlora": QLORA}
    roomy = replace(AGENCY, forecasts=forecasts, candidates=tuple(forecasts), memory_bytes=10**11)
    assert choose(roomy).method == "lora"
    tight = choose(replace(roomy, memory_bytes=15 * 10**8))
    assert tight.method == "qlora"
    assert "LoRA would take 2.0 GB, and 1.5 GB are free." in said(tight)
    assert set(tight.scores) == {"qlora"}
    with pytest.raises(OutOfMemory, match=r"QLoRA would take 1\.0 GB, and 500 MB are free"):
        choose(replace(roomy, memory_bytes=5 * 10**8))


def test_what_takes_too_long_or_costs_too_much_is_left_out() -> None:
    forecasts = {"lora": replace(LORA, cost_usd=2.0), "full": replace(FULL, cost_usd=9.0)}
    two = replace(ALONE, forecasts=forecasts, candidates=("lora", "full"))
    rich = replace(two, comparisons=(compared(60),))
    assert choose(rich).method == "full"
    # Three epochs of 90 seconds are 4.5 minutes.
    hurried = choose(replace(rich, budget_seconds=200))
    assert hurried.method == "lora"
    assert "Full fine-tuning would take 4.5 min, and there are 3.3 min." in said(hurried)
    assert choose(replace(rich, budget_usd=5)).method == "lora"
    with pytest.raises(InvalidInput, match=r"LoRA would cost \$2\.00, and there are \$1\.00"):
        choose(replace(rich, budget_usd=1))


def test_the_lowest_latency_leaves_out_what_does_not_merge() -> None:
    only = replace(
        ALONE, candidates=("prompt", "dora"), comparisons=(compared(99, method="prompt"),)
    )
    assert "prompt" in choose(only).scores
    assert set(choose(replace(only, latency="lowest")).scores) == {"dora"}


def test_one_comparison_of_the_client_itself_outweighs_publications() -> None:
    choice = choose(replace(ALONE, comparisons=(compared(80),)))
    assert choice.method == "full"
    text, source = choice.reasons[0].text, choice.reasons[0].source
    assert "LoRA had 80% of full fine-tuning's gain in 1 comparison here" in text
    assert "acme (2026-11-24)" in source


def test_other_clients_outweigh_publications_only_together() -> None:
    one = replace(ALONE, comparisons=(compared(92, client="birch"),))
    assert choose(one).method == "lora"
    assert "a tie with full fine-tuning: the cheaper is taken" in said(choose(one))
    names = ("birch", "corvid", "dune", "elm", "fjord", "gale")
    many = replace(ALONE, comparisons=tuple(compared(92, client=name) for name in names))
    assert choose(many).method == "full"


def test_the_weights_are_those_of_normal_errors() -> None:
    comparisons = (compared(90, half=3.92), compared(80, client="birch", half=7.84, pages=96))
    choice = choose(replace(ALONE, comparisons=comparisons, candidates=("lora", "full")))
    # The same by brute force: the product of the three densities over a grid.
    grid = np.linspace(0, 200, 200_001)
    density = np.zeros_like(grid)
    for mean, variance in ((100, 10**2), (90, 2**2), (80, 4**2 + 5**2 + (2 * 2) ** 2)):
        density -= (grid - mean) ** 2 / (2 * variance)
    weights = np.exp(density - density.max())
    weights /= weights.sum()
    mean = float((grid * weights).sum())
    sd = float(((grid - mean) ** 2 * weights).sum() ** 0.5)
    found = re.search(r"makes (\d+)% \(95% interval (\d+) to (\d+)\)", said(choice))
    assert found is not None
    expected = (mean, mean - 1.96 * sd, mean + 1.96 * sd)
    assert [int(number) for number in found.groups()] == [round(number) for number in expected]


def test_ties_go_to_the_cheaper() -> None:
    forecasts = {"lora": LORA, "full": FULL}
    tied = replace(ALONE, comparisons=(compared(97, half=5),), forecasts=forecasts)
    assert choose(tied).method == "lora"
    slow = {"lora": replace(LORA, epoch_seconds=500), "full": FULL}
    assert choose(replace(tied, forecasts=slow, candidates=("lora", "full"))).method == "full"


def test_kin_of_a_measured_method_do_not_gain_by_being_unmeasured() -> None:
    choice = choose(replace(ALONE, comparisons=(compared(80),)))
    assert choice.scores["dora"] < choice.scores["full"] - 10
    assert choice.scores["qlora"] < choice.scores["lora"]


def test_a_comparison_over_another_base_counts_for_less() -> None:
    own, other = compared(80), compared(80, base="older")
    scores = [
        choose(replace(ALONE, comparisons=(one,), candidates=("lora", "full"))).scores["lora"]
        for one in (own, other)
    ]
    assert scores[0] < scores[1]


@settings(max_examples=10, deadline=None)
@given(shares=some.lists(some.floats(40, 120), min_size=1, max_size=4), seed=some.randoms())
def test_the_order_of_comparisons_does_not_matter(shares: list[float], seed: Any) -> None:
    comparisons = [compared(share, client=f"c{n}") for n, share in enumerate(shares)]
    first = choose(replace(ALONE, comparisons=tuple(comparisons)))
    seed.shuffle(comparisons)
    assert choose(replace(ALONE, comparisons=tuple(comparisons))).scores == first.scores


def test_the_learning_rate_is_what_sweeps_found() -> None:
    def swept(rate: float, client: str, base: str = "tiny") -> Comparison:
        rates = (SweptRate(learning_rate=rate, loss=3.0, seconds=1.0),)
        return compared(100, client=client, base=base, learning_rate=rate, swept=rates)

    unswept = compared(100, client="dune", learning_rate=0.5)
    found = (swept(1e-3, "acme"), swept(4e-3, "birch"), swept(0.9, "corvid", "other"), unswept)
    choice = choose(replace(AGENCY, comparisons=found))
    assert choice.settings["learning_rate"] == "0.002"
    assert "Learning rate 0.002" in said(choice)
    assert "learning_rate" not in choose(replace(AGENCY, comparisons=(unswept,))).settings


def test_what_would_change_the_mind_does() -> None:
    alone = replace(ALONE, comparisons=(compared(92),), candidates=("lora", "full"))
    choice = choose(alone)
    assert (choice.method, choice.runner_up) == ("full", "lora")
    said_of = {
        name: re.search(pattern, " ".join(choice.would_change))
        for name, pattern in {
            "clients": r"There are (\d+) clients or more \(now 1\)",
            "share": r"LoRA at or above (\d+)% of full fine-tuning's gain",
        }.items()
    }
    clients, share = (int(found[1]) for found in said_of.values() if found)
    assert choose(replace(alone, clients=clients)).method == "lora"
    assert choose(replace(alone, clients=clients - 1)).method == "full"
    sure = {"half": 0.01, "client": "acme"}
    measured = [compared(share, **sure), compared(share - 1, **sure)]
    chosen = [choose(replace(alone, comparisons=(one,))).method for one in measured]
    assert chosen == ["lora", "full"]


def test_a_turning_point_of_memory_holds_as_it_is_said() -> None:
    forecasts = {"lora": LORA, "qlora": QLORA}
    roomy = replace(AGENCY, forecasts=forecasts, candidates=("lora", "qlora"), memory_bytes=10**11)
    choice = choose(roomy)
    assert (choice.method, choice.runner_up) == ("lora", "qlora")
    found = re.search(r"Memory is ([\d.]+) GB or less", " ".join(choice.would_change))
    assert found is not None
    turning = round(float(found[1]) * 10**9)
    assert choose(replace(roomy, memory_bytes=turning)).method == "qlora"
    assert choose(replace(roomy, memory_bytes=round(1.1 * turning))).method == "lora"


def test_what_methods_took_here_is_read_from_comparisons() -> None:
    old = compared(90, tokens_per_second=50.0, peak_memory_bytes=7, trainable_parameters=9)
    new = replace(
        compared(90, tokens_per_second=100.0, peak_memory_bytes=8, clients_in_pass=3),
        created="2026-11-25T12:00:00+00:00",
        settings={"lora": {"lora_r": "8"}},
    )
    elsewhere = compared(90, base="other", tokens_per_second=1.0)
    found = measured_forecasts([new, old, elsewhere], base="tiny", tokens=600)
    assert set(found) == {"lora"}
    assert found["lora"].epoch_seconds == 6.0
    assert found["lora"].peak_memory_bytes is None, "that of a pass says nothing of one client"
    assert found["lora"].lora_r == 8


# Rules


RULE = """
[[rule]]
name = "our-own"
methods = ["prefix"]
when = [{ fact = "clients", at_least = 2 }]
quality = 40
because = "{clients} clients liked it."
source = "our own trial"
"""


def test_a_workspace_adds_replaces_and_turns_off_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    assert read_rules(file) == read_rules(), "no file, no change"
    file.write_text(RULE, encoding="utf-8")
    choice = choose(AGENCY, read_rules(file))
    assert choice.method == "prefix"
    assert ("3 clients liked it. That counts 40.0 points for prefix tuning.", "our own trial") in {
        (reason.text, reason.source) for reason in choice.reasons
    }
    assert choose(ALONE, read_rules(file)).method == "lora"
    heavier = RULE.replace("our-own", "prefix-behind").replace("= 40", "= -60")
    file.write_text(f'off = ["prompt-behind-size-unknown"]\n{heavier}', encoding="utf-8")
    scores = choose(AGENCY, read_rules(file)).scores
    assert scores["prefix"] == choose(AGENCY).scores["prefix"] - 50
    assert scores["prompt"] == choose(AGENCY).scores["prompt"] + 15
    file.write_text("[weights]\nbetween_clients_sd = 0\n", encoding="utf-8")
    one = replace(ALONE, comparisons=(compared(92, client="birch"),))
    assert choose(one).method == "lora" and choose(one, read_rules(file)).method == "full"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("name =", "nmae ="), "unknown key"),
        (('["prefix"]', '["prefixx"]'), "there is no method 'prefixx'"),
        (('fact = "clients"', 'fact = "client"'), "there is no fact 'client'"),
        (("at_least = 2", "at_least = 2, above = 1"), "needs one of"),
        ((", at_least = 2", ""), "needs one of"),
        (("quality = 40", "quality = 40\nburden = 1"), "one of: quality, burden"),
        (("quality = 40", ""), "one of: quality, burden"),
        (("quality = 40", "quality = 4000"), "less than or equal to 100"),
        (("{clients}", "{clients.__class__}"), "is not a fact"),
        (("{clients}", "{clients!r}"), "is not a fact"),
        (("at_least = 2 }]", "at_most = 2 }]\nper_doubling = true"), "above some number"),
        (("[[rule]]", 'off = ["nothing"]\n[[rule]]'), "no rule 'nothing'"),
        (("[[rule]]", "[relative_to]\nlora = 'dora'\n[[rule]]"), "does not lead from"),
        (("[[rule]]", "[weights]\npublished_sd = 0\n[[rule]]"), "greater than 0"),
        (("[[rule]]", "[[rule"), "is not TOML"),
    ],
)
def test_wrong_rules_are_named(change: tuple[str, str], problem: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    assert change[0] in RULE
    file.write_text(RULE.replace(*change), encoding="utf-8")
    with pytest.raises(InvalidInput, match=problem):
        read_rules(file)


def test_each_shipped_rule_can_apply_and_says_whose_it_is() -> None:
    """Every condition is on a fact that a situation can state, and every name is used once."""
    rules = read_rules().rule
    assert len({rule.name for rule in rules}) == len(rules)
    asked = {condition.fact for rule in rules for condition in rule.when}
    facts = choose_facts()
    assert asked <= facts.keys() == FACTS.keys()
    assert all(facts[name] is not None for name in asked)


def choose_facts() -> dict[str, Any]:
    """Facts of a situation in which everything is known."""
    from copydesk.study._situation import facts_of

    known = replace(
        AGENCY,
        updates_month=2.0,
        memory_bytes=10**10,
        budget_seconds=60.0,
        budget_usd=1.0,
        base_loss=4.0,
        general_loss=3.0,
        total_parameters=135_000_000,
        forecasts={"lora": replace(LORA, cost_usd=1.0, artifact_bytes=10**7)},
        comparisons=(compared(90, forgetting=0.1),),
    )
    return facts_of(known, "lora")
