"""A canary over a real server: what its answers and drafts say can end it, not errors alone."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from handled import Handled
from served import Served, make_workspace, serving
from signing import HELD_OUT, train_to_sign

import copydesk
from copydesk.app.api._front import Ended
from copydesk.app.api._inspecting import Inspector
from copydesk.desk import AnswerChecks, Workspace
from copydesk.errors import UnknownName
from copydesk.models import BaseStore
from copydesk.registry import (
    CanaryRules,
    Standard,
    Version,
    add_version,
    find_version,
    history,
    live_version,
    outcomes,
    promote,
    running_canary,
)
from copydesk.store import Artifact

STEPS = 80
LEARNED = 0.5
"""Nats a token."""
WORDS = ("river", "stone", "garden", "window", "paper", "summer", "market", "bridge", "letter")
GOOD, BANNED = "plain", "vogue"
"""No letter twice, so that each tells which comes next."""
GUIDE = f"""
banned = ["{BANNED}"]
[rules."repetition/loop"]
on = false
[rules."length/words"]
on = false
"""
"""A tiny base never ends a text: both versions say their word again and again."""
STANDARD = Standard(thresholds="t", base="b")
SECONDS = 120
"""Far more than it takes; what is waited for comes after a few requests."""


def question(number: int) -> str:
    return " ".join(WORDS[(number * 7 + at) % len(WORDS)] for at in range(1 + number % 30))


def signing_version(workspace: Workspace, client: str, base: Path, text: str) -> Version:
    """A version that was trained to answer everything with one word, again and again."""
    info = BaseStore(base.parent / "cache").find(str(base))
    asked = [question(number) for number in range(STEPS * 6 + HELD_OUT)]
    folder = workspace.root / "runs" / text
    tuning = train_to_sign(info, asked, " ".join([text] * 3), folder, sure=LEARNED)

    def fill(artifact: Artifact) -> None:
        tuning.save(artifact.path)
        artifact.facts.update(method="lora", settings={"lora_r": 4}, dtype="float32")

    return add_version(workspace.catalogue, client, {"base": info.digest}, fill)


@pytest.fixture(scope="module")
def root(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Acme, whose guide bans a word that its second version says and its first does not."""
    folder = tmp_path_factory.mktemp("canary") / "agency"
    make_workspace(folder, tiny_base, ()).close()
    guide = folder.parent / "guide.toml"
    guide.write_text(GUIDE)
    with copydesk.open(folder) as workspace:
        workspace.add_client("acme", style_guide=guide)
        first = signing_version(workspace, "acme", tiny_base, GOOD)
        signing_version(workspace, "acme", tiny_base, BANNED)
        promote(workspace.catalogue, first, STANDARD, by="me", force_reason="first")
    return folder


@pytest.fixture(scope="module")
def engine(tiny_base: Path) -> Iterator[Handled]:
    made = Handled(tiny_base)
    yield made
    made.stop()


class Unstoppable:
    """The module's engine, for servers that come and go."""

    def __init__(self, engine: Handled) -> None:
        self.submit, self.state = engine.submit, engine.state

    def stop(self, drain_seconds: float = 0.0) -> None:
        pass


@pytest.fixture
def server(root: Path, engine: Handled) -> Iterator[Served]:
    with serving(root, Unstoppable(engine), engine.info.digest) as running:
        yield running


@pytest.fixture
def workspace(root: Path) -> Iterator[Workspace]:
    with copydesk.open(root) as opened:
        yield opened


def begin(workspace: Workspace, *, requests: int) -> None:
    candidate = find_version(workspace.catalogue, "acme@2")
    rules = CanaryRules(share=0.5, requests=requests)
    promote(
        workspace.catalogue, candidate, STANDARD, by="me", force_reason="to be tried", canary=rules
    )


def until_it_ends(workspace: Workspace, ask: Callable[[int], None]) -> None:
    """Ask until the canary is over; the server tells it once a second what happened."""
    end = time.monotonic() + SECONDS
    number = 0
    while running_canary(workspace.catalogue, "acme") is not None:
        assert time.monotonic() < end
        ask(number)
        number += 1


def chat(server: Served, number: int, **more: Any) -> httpx2.Response:
    asked = {
        "model": "acme",
        "messages": [{"role": "user", "content": question(number)}],
        "temperature": 0,
        "max_tokens": 12,
        "stream": number % 2 == 1,
    }
    answer = server.post(
        "/v1/chat/completions", asked | more, **{"x-request-id": f"chat-{number}-{time.time()}"}
    )
    assert answer.status_code == 200, answer.text
    return answer


def test_a_version_whose_answers_have_findings_is_rolled_back(
    server: Served, workspace: Workspace
) -> None:
    begin(workspace, requests=1000)
    until_it_ends(workspace, lambda number: chat(server, number) and None)
    change = history(workspace.catalogue, "acme")[-1]
    assert (change.action, change.number) == ("canary-stopped", 2)
    assert "more findings than 1.5 times" in change.reason and " 0 errors" in change.reason
    assert live_version(workspace.catalogue, "acme").number == 1
    assert outcomes(workspace.catalogue, "acme", 1).findings == 0
    assert GOOD in chat(server, 0).text
    metrics = httpx2.get(f"{server.admin_url}/metrics").text
    for found in ("clean", "findings"):
        assert f'copydesk_checked_answers_total{{client="acme",found="{found}"}}' in metrics


def test_a_version_whose_drafts_have_findings_is_rolled_back(
    server: Served, workspace: Workspace
) -> None:
    def write(number: int) -> None:
        brief = {"title": f"Spring bulbs {number}", "format": "blog", "length": 9}
        asked = {"model": "acme", "brief": brief, "temperature": 0}
        (draft,) = server.post("/v1/drafts", asked).json()["data"]
        rules = {item["rule"] for item in draft["findings"] if item["severity"] == "error"}
        assert rules == ({"banned-word"} if draft["version"] == "acme@2" else set())

    begin(workspace, requests=1000)
    until_it_ends(workspace, write)
    change = history(workspace.catalogue, "acme")[-1]
    assert change.action == "canary-stopped" and "more findings than" in change.reason


def test_where_answers_are_not_to_be_checked_findings_end_no_canary(
    server: Served, workspace: Workspace
) -> None:
    file = workspace.root / "copydesk.toml"
    before = file.read_text()
    file.write_text(before + "[canary]\nchecked_answers = 0.0\n")
    try:
        begin(workspace, requests=25)
        until_it_ends(workspace, lambda number: chat(server, number) and None)
    finally:
        file.write_text(before)
    assert history(workspace.catalogue, "acme")[-1].action == "canary-finished"
    workspace.rollback("acme", reason="for the next test")


def test_named_versions_and_json_are_not_judged(server: Served, workspace: Workspace) -> None:
    begin(workspace, requests=1000)
    try:
        for number in range(4):
            assert BANNED in chat(server, number, model="acme@2", stream=False).text
        schema = {"type": "json_object"}
        for number in range(12):
            chat(server, number, response_format=schema, max_tokens=40)
        end = time.monotonic() + SECONDS
        canary = running_canary(workspace.catalogue, "acme")
        while canary is not None and canary.candidate.requests + canary.live.requests < 12:
            assert time.monotonic() < end
            time.sleep(0.02)
            canary = running_canary(workspace.catalogue, "acme")
        assert canary is not None
        assert canary.candidate.requests + canary.live.requests == 12
        assert canary.candidate.findings == canary.live.findings == 0
    finally:
        workspace.rollback("acme", reason="enough")


def test_answers_are_judged_by_the_clients_own_guide_which_may_change(
    root: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add_client("bolt")
    checks = AnswerChecks(root)
    texts = ["A quiet word.", f"And {BANNED}, loudly."]
    assert checks.wrong("acme", texts) == ("banned-word",)
    assert checks.wrong("acme", texts[:1]) == ()
    assert checks.wrong("bolt", texts) == ()
    guide = workspace.client_folder("bolt") / "style_guide.toml"
    guide.parent.mkdir(parents=True, exist_ok=True)
    guide.write_text('banned = ["quiet"]\n')
    now = time.monotonic()
    monkeypatch.setattr("copydesk.desk._answer_checks.time.monotonic", lambda: now + 61)
    assert checks.wrong("bolt", texts) == ("banned-word",)
    workspace.delete_client("bolt")
    with pytest.raises(UnknownName):
        checks.wrong("bolt", texts)


def inspected(root: Path, client: str, *, count: int = 1, most: int = 64) -> list[tuple[str, bool]]:
    """What was heard of answers that were offered all at once: word, findings."""
    heard: list[tuple[str, bool]] = []
    ended = Ended(client=client, number=1, canary=1, error=False)

    async def run() -> None:
        inspector = Inspector(
            root, lambda done, word: heard.append((word, done.findings)), most=most
        )
        for _ in range(count):
            inspector.offer(ended, [f"A {BANNED} word."])
        while len(heard) < count:
            await asyncio.sleep(0.01)
        inspector.close()

    asyncio.run(run())
    return heard


@pytest.mark.parametrize(("most", "unchecked"), [(2, 18), (64, 0)])
def test_what_waits_to_be_checked_is_bounded_and_nothing_is_lost(
    root: Path, most: int, unchecked: int
) -> None:
    heard = inspected(root, "acme", count=20, most=most)
    assert heard.count(("unchecked", False)) == unchecked
    assert heard.count(("findings", True)) == 20 - unchecked


def test_an_answer_that_cannot_be_checked_is_told_of_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert inspected(root, "nobody") == [("unchecked", False)]

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("copydesk.desk._answer_checks.check", broken)
    assert inspected(root, "acme") == [("unchecked", False)]
    assert "a check failed" in caplog.text


def test_a_canary_that_began_later_hears_nothing_of_what_it_did_not_draw(
    root: Path, workspace: Workspace, engine: Handled
) -> None:
    from copydesk.desk import Roster
    from copydesk.store import Catalogue

    catalogue = Catalogue(root)
    roster = Roster(
        catalogue=catalogue,
        base_name="tiny",
        base_digest=engine.info.digest,
        methods=frozenset({"lora"}),
    )
    assert roster.find(None, "acme").canary is None
    begin(workspace, requests=1000)
    canary = roster.find(None, "acme").canary
    assert canary is not None and roster.find(None, "acme@2").canary is None
    roster.report("acme", 2, canary=canary - 1, findings=True, error=False)
    assert outcomes(catalogue, "acme", 2, canary=canary).requests == 0
    roster.report("acme", 2, canary=canary, findings=True, error=False)
    assert outcomes(catalogue, "acme", 2, canary=canary).findings == 1
    workspace.rollback("acme", reason="enough")
    catalogue.close()
