"""Who is answered: keys and their scopes, rates and quotas, over a real socket."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from handled import Handled
from served import Served, make_workspace, serving

import copydesk
from copydesk.app.api._allowance import Allowance
from copydesk.app.api._problems import Problem
from copydesk.desk import Key, Workspace, examine

ASK = [{"role": "user", "content": "Say something"}]


@pytest.fixture(scope="module")
def engine(tiny_base: Path) -> Iterator[Handled]:
    made = Handled(tiny_base)
    yield made
    made.stop()


@pytest.fixture
def workspace(tiny_base: Path, tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path / "agency", tiny_base, ("acme", "bolt")) as opened:
        yield opened


class Unstoppable:
    """The module's engine, for servers that come and go."""

    def __init__(self, engine: Handled) -> None:
        self.submit, self.state = engine.submit, engine.state

    def stop(self, drain_seconds: float = 0.0) -> None:
        pass


@pytest.fixture
def server(workspace: Workspace, engine: Handled) -> Iterator[Served]:
    with serving(workspace.root, Unstoppable(engine), engine.info.digest) as running:
        yield running


def ask(server: Served, key: str, model: str = "acme", **more: Any) -> str | None:
    asked = {"messages": ASK, "max_tokens": 4} | more
    answer = server.client(key).chat.completions.create(model=model, **asked)
    return answer.choices[0].message.content


def test_with_a_key_in_the_workspace_nobody_is_answered_without(
    server: Served, workspace: Workspace
) -> None:
    assert httpx2.get(f"{server.url}/v1/models").status_code == 200  # no key was ever made
    key = workspace.server_keys.add(clients=["acme"]).secret
    ask(server, key)
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    for given in ({}, {"authorization": f"Bearer {wrong}"}, {"authorization": f"Basic {key}"}):
        for path in ("/v1/models", "/v1/models/acme", "/nowhere"):
            answer = httpx2.get(server.url + path, headers=given)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        # refused before the body is looked at
        assert server.post("/v1/chat/completions", {"bad": 1}, **given).status_code == 401
    with pytest.raises(openai.AuthenticationError):
        ask(server, wrong)


def test_a_catalogue_that_is_lost_and_rebuilt_opens_no_running_server(
    server: Served, workspace: Workspace
) -> None:
    old = workspace.server_keys.add(clients=["acme"]).secret
    ask(server, old)
    workspace.close()
    for file in workspace.root.glob("copydesk.db*"):
        file.unlink()
    assert httpx2.get(f"{server.url}/v1/models").status_code == 401
    assert examine(workspace.root, repair=True).healthy
    for headers in ({}, {"authorization": f"Bearer {old}"}):
        assert httpx2.get(f"{server.url}/v1/models", headers=headers).status_code == 401
    with copydesk.open(workspace.root) as rebuilt:
        ask(server, rebuilt.server_keys.add(clients=["acme"]).secret)


def test_a_revoked_or_rotated_key_is_refused_by_the_next_request(
    server: Served, workspace: Workspace
) -> None:
    issued = workspace.server_keys.add(clients=["acme"])
    ask(server, issued.secret)
    new = workspace.server_keys.rotate(issued.key.id)
    with pytest.raises(openai.AuthenticationError):
        ask(server, issued.secret)
    ask(server, new.secret)
    workspace.server_keys.revoke(issued.key.id)
    with pytest.raises(openai.AuthenticationError):
        ask(server, new.secret)
    # All keys are revoked: that does not open the server again.
    assert httpx2.get(f"{server.url}/v1/models").status_code == 401


def test_a_key_sees_and_uses_only_its_clients(server: Served, workspace: Workspace) -> None:
    acme = workspace.server_keys.add(clients=["acme"]).secret
    base = workspace.server_keys.add(base=True).secret
    every = workspace.server_keys.add(every_client=True).secret

    def listed(key: str) -> list[str]:
        return [model.id for model in server.client(key).models.list()]

    assert listed(acme) == ["acme", "acme@1"]
    assert listed(base) == ["base:tiny"]
    assert listed(every) == ["acme", "acme@1", "bolt", "bolt@1"]
    ask(server, acme, "acme@1")
    ask(server, base, "base:tiny")
    for key, model in ((acme, "base:tiny"), (every, "base:tiny"), (base, "acme"), (acme, "bolt@1")):
        with pytest.raises(openai.NotFoundError):
            ask(server, key, model)


def test_unknown_and_forbidden_models_are_answered_alike(
    server: Served, workspace: Workspace
) -> None:
    headers = {"authorization": f"Bearer {workspace.server_keys.add(clients=['acme']).secret}"}

    def told(model: str) -> list[tuple[int, str]]:
        body = {"model": model, "messages": ASK}
        answers = (
            server.post("/v1/chat/completions", body, **headers),
            server.post("/v1/completions", {"model": model, "prompt": "x"}, **headers),
            httpx2.get(f"{server.url}/v1/models/{model}", headers=headers),
        )
        return [(answer.status_code, answer.text.replace(model, "M")) for answer in answers]

    first = told("bolt")
    assert {status for status, _ in first} == {404}
    for model in ("nobody", "bolt@1", "bolt@9", "acme@9", "acme@x", "base:tiny", "base:other"):
        assert told(model) == first, model


def test_no_name_of_a_model_is_a_path_or_an_address(server: Served) -> None:
    for model in ("../acme", "/etc/passwd", "acme@1/..", "http://127.0.0.1/x", "acme\x00", "%2e"):
        answer = server.post("/v1/chat/completions", {"model": model, "messages": ASK})
        assert answer.status_code == 404, model


def test_the_admin_port_takes_admin_keys_and_the_public_one_has_no_admin_routes(
    server: Served, workspace: Workspace
) -> None:
    paths = ("/metrics", "/state")
    for path in paths:
        assert httpx2.get(server.url + path).status_code == 404
        assert httpx2.get(server.admin_url + path).status_code == 200  # open, as no key was made
    plain = workspace.server_keys.add(clients=["acme"]).secret
    admin = workspace.server_keys.add(admin=True).secret
    for path in paths:
        assert httpx2.get(server.admin_url + path).status_code == 401
        for key, status in ((plain, 403), (admin, 200)):
            headers = {"authorization": f"Bearer {key}"}
            assert httpx2.get(server.admin_url + path, headers=headers).status_code == status
    assert httpx2.get(f"{server.admin_url}/v1/models").status_code == 401
    with pytest.raises(openai.NotFoundError):
        ask(server, admin)  # an admin key is not a key to clients' voices
    for url in (server.url, server.admin_url):
        assert httpx2.get(f"{url}/health/live").status_code == 200
        assert httpx2.get(f"{url}/health/ready").json() == {"status": "ready"}


def test_a_page_that_points_its_name_at_this_machine_is_refused(server: Served) -> None:
    for url in (server.url, server.admin_url):
        for host, status in (("evil.example", 403), ("127.0.0.1.evil.example", 403), ("", 403)):
            answer = httpx2.get(f"{url}/state", headers={"host": host})
            assert answer.status_code == status
    for host in ("localhost", "localhost:80", "127.0.0.1:1", "[::1]:8000"):
        answer = httpx2.get(f"{server.url}/v1/models", headers={"host": host})
        assert answer.status_code == 200


def test_a_rate_holds_for_its_key_alone(server: Served, workspace: Workspace) -> None:
    slow = workspace.server_keys.add(clients=["acme"], rate=2).secret
    free = workspace.server_keys.add(clients=["acme"]).secret
    for _ in range(2):
        ask(server, slow)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(server, slow)
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 61
    for _ in range(3):
        ask(server, free)


def test_a_quota_bounds_tokens_and_is_kept_in_the_catalogue(
    server: Served, workspace: Workspace
) -> None:
    issued = workspace.server_keys.add(clients=["acme"], quota=120)
    used = 0
    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(20):
            answer = server.client(issued.secret).chat.completions.create(
                model="acme", messages=ASK, max_tokens=10
            )
            assert answer.usage is not None
            used += answer.usage.total_tokens
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert 120 - 10 < used <= 120 + 60  # the last prompt may pass it, see `Allowance`
    until = time.monotonic() + 10
    while workspace.server_keys.get(issued.key.id).tokens != used and time.monotonic() < until:
        time.sleep(0.05)
    assert workspace.server_keys.get(issued.key.id).tokens == used


def test_a_stream_that_is_left_is_counted(
    server: Served, workspace: Workspace, engine: Handled
) -> None:
    issued = workspace.server_keys.add(clients=["acme"], quota=10_000)
    engine.step_seconds = 0.01
    stream = server.client(issued.secret).chat.completions.create(
        model="acme", messages=ASK, max_tokens=500, stream=True, temperature=0.0
    )
    for number, _ in enumerate(stream):
        if number == 8:
            break
    stream.response.close()
    until = time.monotonic() + 10
    while not workspace.server_keys.get(issued.key.id).tokens and time.monotonic() < until:
        time.sleep(0.05)
    engine.step_seconds = 0.0
    assert 6 <= workspace.server_keys.get(issued.key.id).tokens < 500


def test_requests_side_by_side_do_not_pass_a_quota_together() -> None:
    key = _key(quota=100)
    allowance = Allowance()
    allowance.admit(key, 60)
    with pytest.raises(Problem):
        allowance.admit(key, 60)
    allowance.settle(key, held=60, used=10)
    allowance.admit(key, 60)
    allowance.settle(key, held=60, used=40)
    assert allowance.to_write() == {key.id: [10, 40]}
    with pytest.raises(Problem):  # taken to be written, and not in the catalogue yet
        allowance.admit(key, 60)
    allowance.written()
    assert allowance.to_write() == {}
    allowance.admit(None, 10**9)


def test_a_rate_is_of_any_minute_not_of_the_clocks() -> None:
    now = [0.0]
    allowance, key = Allowance(lambda: now[0]), _key(rate=3)
    for moment in (0.0, 10.0, 59.0):
        now[0] = moment
        allowance.admit(key, 1)
    now[0] = 59.9
    with pytest.raises(Problem):
        allowance.admit(key, 1)
    now[0] = 60.1  # the first is a minute ago: one more, and no more
    allowance.admit(key, 1)
    with pytest.raises(Problem) as refused:
        allowance.admit(key, 1)
    assert refused.value.headers["retry-after"] == "10"


def _key(*, rate: int | None = None, quota: int | None = None) -> Key:
    return Key(
        id="k",
        label="",
        clients=("acme",),
        every_client=False,
        base=False,
        admin=False,
        rate=rate,
        quota=quota,
        created="",
        revoked=None,
        tokens=0,
        requests=0,
    )
