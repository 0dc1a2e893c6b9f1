"""Requests that do not end well: hung up, late, refused, on an engine that dies or drains."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from handled import Handled
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import load_file, save_file
from served import Served, make_version, make_workspace, serving

import copydesk
from copydesk.app.api import Limits
from copydesk.desk import Supervised
from copydesk.records import Engine

ASK = [{"role": "user", "content": "Say something"}]
LONG = {"model": "acme", "messages": ASK, "max_tokens": 400, "temperature": 0}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def root(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lifetimes") / "agency"
    make_workspace(folder, tiny_base, ("acme", "bolt", "broken")).close()
    return folder


@pytest.fixture
def engine(tiny_base: Path) -> Handled:
    return Handled(tiny_base, step_seconds=0.005)


@pytest.fixture
def server(root: Path, engine: Handled) -> Iterator[Served]:
    with serving(root, engine, engine.info.digest, drain_seconds=30.0) as running:
        yield running


@pytest.fixture
def hasty(root: Path, engine: Handled) -> Iterator[Served]:
    """A server whose requests have 0.4 seconds."""
    limits = Limits(seconds=0.4)
    with serving(root, engine, engine.info.digest, limits=limits) as running:
        yield running


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_ends_the_work(server: Served, engine: Handled, stream: bool) -> None:
    endless = LONG | {"stream": stream, "n": 2, "max_tokens": 4000}
    with pytest.raises(httpx2.ReadTimeout):
        if stream:
            url = server.url + CHAT
            with httpx2.stream("POST", url, json=endless, timeout=0.3) as answer:
                for _ in answer.iter_bytes():
                    engine.hold.clear()  # it is in the middle, and nothing more comes
        else:
            httpx2.post(server.url + CHAT, json=endless, timeout=0.3)
    engine.hold.set()
    until(lambda: engine.busy == 0)
    until(lambda: not server.service.visits)


def test_a_full_queue_is_429_and_what_was_taken_of_the_request_is_let_go(
    root: Path, tiny_base: Path
) -> None:
    engine = Handled(tiny_base, max_running=1, max_waiting=1)
    with serving(root, engine, engine.info.digest) as server:
        engine.hold.clear()
        answer = server.post(CHAT, LONG | {"n": 8})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "engine_overloaded"
        engine.hold.set()
        until(lambda: engine.busy == 0)


def test_a_request_whose_time_is_up_is_504_and_not_tried_again(
    hasty: Served, engine: Handled
) -> None:
    engine.step_seconds = 0.03
    before = engine.steps
    with pytest.raises(openai.APIStatusError) as late:
        hasty.client(max_retries=5).chat.completions.create(**LONG)
    assert late.value.status_code == 504
    assert engine.steps - before < 2 * 0.4 / 0.03, "the client did not come again"
    streamed = hasty.client().chat.completions.create(**LONG, stream=True)
    with pytest.raises(openai.APIError, match="within the time"):
        for _ in streamed:
            pass


def test_an_engine_that_hangs_does_not_hang_the_server(root: Path, tiny_base: Path) -> None:
    engine = Handled(tiny_base)
    with serving(
        root, engine, engine.info.digest, limits=Limits(seconds=0.3, grace_seconds=0.2)
    ) as server:
        engine.hold.clear()  # it does not even look at deadlines now
        began = time.monotonic()
        assert server.post(CHAT, LONG).status_code == 504
        assert time.monotonic() - began < 9
        engine.hold.set()


def test_a_dead_engine_is_503_and_is_started_again(root: Path, tiny_base: Path) -> None:
    made: list[Handled] = []
    told: list[str] = []
    fail = [0]

    def start(before: Engine | None) -> Handled:
        if before:
            before.stop()
        if fail[0]:
            fail[0] -= 1
            raise RuntimeError("no memory")
        made.append(Handled(tiny_base, step_seconds=0.005))
        return made[-1]

    engine = Supervised(
        start, on_event=lambda event, _: told.append(event), look_seconds=0.05, pauses=(0.5, 0.05)
    )
    with serving(root, engine, made[0].info.digest) as server:
        streamed = server.client().chat.completions.create(**LONG, stream=True)
        next(iter(streamed))
        fail[0] = 2
        made[0].die()
        with pytest.raises(openai.APIError, match="failed"):
            for _ in streamed:
                pass
        answer = server.post(CHAT, LONG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_down")
        assert answer.headers["retry-after"]
        assert httpx2.get(f"{server.url}/health/ready").status_code == 503
        assert httpx2.get(f"{server.url}/health/live").status_code == 200
        until(lambda: httpx2.get(f"{server.url}/health/ready").status_code == 200)
        assert server.post(CHAT, LONG | {"max_tokens": 3}).status_code == 200
        assert told == ["engine_down", "engine_failed", "engine_failed", "engine_started"]
        assert _metrics(server)["copydesk_engine_restarts_total"] == 1
    assert len(made) == 2 and made[1].state().status == "down"


def test_sigterms_work_finishes_what_runs_and_refuses_what_comes(
    server: Served, engine: Handled
) -> None:
    got: dict[str, Any] = {}

    def run() -> None:
        got["text"] = server.post(CHAT, LONG | {"max_tokens": 60}).json()

    running = threading.Thread(target=run)
    running.start()
    until(lambda: engine.busy == 1)
    server.ending.set()
    until(lambda: server.service.draining)
    assert httpx2.get(f"{server.url}/health/ready").status_code == 503
    refused = server.post(CHAT, LONG)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_down")
    running.join()
    assert got["text"]["choices"][0]["message"]["content"]
    until(lambda: _closed(server.url))


def test_what_does_not_end_while_draining_is_cancelled_and_says_so(
    root: Path, tiny_base: Path
) -> None:
    engine = Handled(tiny_base, step_seconds=0.02)
    with serving(root, engine, engine.info.digest, drain_seconds=0.1) as server:
        streamed = server.client().chat.completions.create(**LONG, stream=True)
        next(iter(streamed))
        server.ending.set()
        with pytest.raises(openai.APIError, match="stopped"):
            for _ in streamed:
                pass


def test_an_adapter_that_is_no_number_is_refused_and_its_neighbours_are_not(
    server: Served, root: Path, tiny_base: Path
) -> None:
    create = server.client().chat.completions.create
    asked = {"messages": ASK, "max_tokens": 12, "temperature": 0}
    before = create(model="bolt@1", **asked).choices[0].message.content
    with copydesk.open(root) as workspace:
        version = make_version(workspace, "broken", tiny_base, seed=9)
        file = version.path / "adapter_model.safetensors"
        tensors = load_file(file)
        name = sorted(tensors)[0]
        tensors[name][0, 0] = float("nan")
        save_file(tensors, file)
    with pytest.raises(openai.APIStatusError) as refused:
        create(model=version.name, **asked)
    assert refused.value.status_code == 503
    assert str(root) not in refused.value.response.text, "paths are the log's alone"
    assert create(model="bolt@1", **asked).choices[0].message.content == before
    assert create(model="acme@1", **asked).choices[0].message.content


def test_a_stream_ends_with_done_only_where_it_is_whole(
    server: Served, hasty: Served, engine: Handled
) -> None:
    body = LONG | {"max_tokens": 5, "stream": True}
    whole = server.post(CHAT, body)
    assert whole.headers["content-type"].startswith("text/event-stream")
    assert whole.text.endswith("data: [DONE]\n\n")
    engine.step_seconds = 0.05
    broken = hasty.post(CHAT, LONG | {"stream": True})
    lines = [line for line in broken.text.splitlines() if line.startswith("data: ")]
    assert len(lines) > 1
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "timeout"


def test_the_keeper_sees_what_runs_and_can_end_it(server: Served, engine: Handled) -> None:
    got: list[int] = []
    headers = {"x-request-id": "slow-one"}
    thread = threading.Thread(
        target=lambda: got.append(server.post(CHAT, LONG, **headers).status_code)
    )
    thread.start()
    until(lambda: engine.busy)
    state = httpx2.get(f"{server.admin_url}/state").json()
    assert state["status"] == "ready" and state["running"] == 1
    (seen,) = state["requests"]
    assert (seen["request_id"], seen["model"]) == ("slow-one", "acme@1")
    cancel = f"{server.admin_url}/requests/slow-one/cancel"
    assert httpx2.post(cancel).json() == {"cancelled": 1}
    thread.join()
    assert got == [503]
    assert httpx2.post(cancel).status_code == 404


def test_metrics_count_requests_and_tokens_by_client(server: Served) -> None:
    answer = server.client().chat.completions.create(model="bolt@1", messages=ASK, max_tokens=7)
    server.post(CHAT, {"model": "nobody", "messages": ASK})
    found = _metrics(server)
    assert answer.usage is not None
    key = "copydesk_tokens_total{client=bolt,kind=completion}"
    assert found[key] == answer.usage.completion_tokens
    assert found["copydesk_requests_total{client=bolt,route=chat,status=200}"] == 1
    assert found["copydesk_requests_total{client=,route=chat,status=404}"] == 1
    assert found["copydesk_first_token_seconds_count"] == 1
    assert found["copydesk_engine_up"] == 1 and found["copydesk_queue"] == 0
    assert found["copydesk_engine_adapter_misses_total"] == 1
    assert not any("nobody" in name for name in found), "no caller makes up series"


def _metrics(server: Served) -> dict[str, float]:
    text = httpx2.get(f"{server.admin_url}/metrics").text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def _closed(url: str) -> bool:
    try:
        httpx2.get(f"{url}/health/live", timeout=1.0)
    except httpx2.TransportError:
        return True
    return False
