"""Drafts over HTTP: written by the running engine, checked, kept, with the request's id."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from handled import Handled
from served import Served, make_workspace, serving

import copydesk
from copydesk.registry import outcomes

BRIEF = {"title": "Spring bulbs", "format": "blog", "length": 20, "points": ["plant them deep"]}


@pytest.fixture(scope="module")
def root(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drafts") / "agency"
    make_workspace(folder, tiny_base, ("acme", "bolt")).close()
    return folder


@pytest.fixture
def engine(tiny_base: Path) -> Handled:
    return Handled(tiny_base)


@pytest.fixture
def server(root: Path, engine: Handled) -> Iterator[Served]:
    with serving(root, engine, engine.info.digest) as running:
        yield running


def test_a_brief_becomes_a_kept_draft_that_names_its_request(server: Served, root: Path) -> None:
    asked = {"model": "acme", "brief": BRIEF, "temperature": 0, "candidates": 2}
    answer = server.post("/v1/drafts", asked, **{"x-request-id": "order-17"})
    assert answer.status_code == 200, answer.text
    (draft,) = answer.json()["data"]
    assert (draft["version"], draft["request_id"]) == ("acme@1", "order-17")
    assert draft["text"] and isinstance(draft["findings"], list)
    assert answer.json()["usage"]["completion_tokens"] > 0
    with copydesk.open(root) as workspace:
        (kept,) = [one for one in workspace.drafts() if one.request_id == "order-17"]
    assert (kept.text, kept.client, kept.brief.title) == (draft["text"], "acme", "Spring bulbs")


def test_drafts_side_by_side_are_all_kept(server: Served, root: Path) -> None:
    def write(number: int) -> None:
        asked = {"model": "bolt", "brief": BRIEF, "seed": number, "temperature": 1.0}
        server.post("/v1/drafts", asked, **{"x-request-id": f"side-{number}"})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with copydesk.open(root) as workspace:
        ids = [one.request_id for one in workspace.drafts() if one.client == "bolt"]
    assert sorted(ids) == [f"side-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"brief": {"title": "x" * 500}}, 400),
        ({"brief": {"self": 1}}, 400),
        ({"brief": {"no such": 1}}, 400),
        ({"brief": {}}, 400),
        ({"brief": BRIEF | {"format": "sonnet"}}, 400),
        ({"candidates": 99}, 400),
        ({"model": "base:tiny"}, 400),
        ({"model": "nobody"}, 404),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused(
    server: Served, more: dict[str, object], status: int
) -> None:
    answer = server.post("/v1/drafts", {"model": "acme", "brief": BRIEF} | more)
    assert answer.status_code == status, answer.text


def test_hanging_up_ends_the_writing(server: Served, engine: Handled, root: Path) -> None:
    engine.step_seconds = 0.02
    asked = {"model": "acme", "brief": BRIEF | {"length": 900}, "temperature": 1.9}
    with copydesk.open(root) as workspace:
        before = len(workspace.drafts())
        counted = outcomes(workspace.catalogue, "acme", 1)
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{server.url}/v1/drafts", json=asked, timeout=1.0)
        engine.step_seconds = 0.0
        while engine.busy:
            pass
        assert len(workspace.drafts()) == before
        assert outcomes(workspace.catalogue, "acme", 1) == counted, "that says nothing of a version"


def test_drafts_do_not_hold_up_answers_and_are_bounded(server: Served, engine: Handled) -> None:
    engine.hold.clear()
    statuses: list[int] = []

    def write() -> None:
        asked = {"model": "acme", "brief": BRIEF | {"length": 5}, "temperature": 0}
        statuses.append(server.post("/v1/drafts", asked).status_code)

    threads = [threading.Thread(target=write) for _ in range(10)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 30
    while len(statuses) < 2:  # eight are being written, two are told to come again
        assert time.monotonic() < end
        time.sleep(0.01)
    assert statuses == [429, 429]
    chat = {"model": "acme", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(server.post("/v1/chat/completions", chat).status_code)
    )
    before = engine.busy
    asking.start()
    while engine.busy == before:  # it reached the engine, past all that is being written
        assert time.monotonic() < end
        time.sleep(0.01)
    engine.hold.set()
    for thread in (*threads, asking):
        thread.join()
    assert answers == [200] and statuses.count(429) == 2
