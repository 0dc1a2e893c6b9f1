"""Bodies, headers and connections that no good client would send: a clear 4xx, never a 5xx."""

import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from handled import Handled
from served import Served, make_workspace, serving

from copydesk.app.api import Limits
from copydesk.app.api._visits import JsonLines

ASK = [{"role": "user", "content": "Say something"}]
CHAT = "/v1/chat/completions"
LIMITS = Limits(body_bytes=100_000, body_seconds=0.5, prompt_characters=5_000, max_tokens=64)


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("hostile") / "agency"
    make_workspace(root, tiny_base, ("acme",)).close()
    engine = Handled(tiny_base)
    with serving(root, engine, engine.info.digest, limits=LIMITS) as running:
        yield running


def refused(server: Served, content: bytes, status: int, path: str = CHAT) -> str:
    """The message of a refusal in OpenAI's shape."""
    headers = {"content-type": "application/json"}
    answer = httpx2.post(server.url + path, content=content, headers=headers, timeout=20.0)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["message"]
    return error["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe\x00",
        b"{'model': 'acme'}",
        b"[" * 50_000,
        b'{"model":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"model": "acme", "messages": 1' + b"0" * 5000 + b"}",
        b'{"model":"acme","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"acme","\\ud800":1,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"acme","a\\r\\nb: c":1,"messages":[{"role":"user","content":"x"}]}',
    ],
    ids=range(13),
)
def test_what_is_no_request_is_refused(server: Served, content: bytes) -> None:
    refused(server, content, 400)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"n": 10**30}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 65}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "not both"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "json_schema"}}, "json_schema"),
        ({"response_format": {"type": "text", "json_schema": {"name": "a", "schema": {}}}}, "json"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": ASK * 513}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 5001}]}, "characters"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": None}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "content"),
        ({"model": ""}, "model"),
        ({"model": "x" * 201}, "model"),
        ({"model": ["acme"]}, "model"),
        ({"adapter": "/tmp/x"}, "adapter"),
    ],
    ids=str,
)
def test_each_parameter_has_its_limits(server: Served, more: dict[str, object], word: str) -> None:
    body = json.dumps({"model": "acme", "messages": ASK} | more).encode()
    assert word in refused(server, body, 400)


def test_a_schema_too_deep_or_too_long_is_refused(server: Served) -> None:
    deep: dict[str, object] = {}
    for _ in range(200):
        deep = {"properties": {"a": deep}}
    for schema in (deep, {"enum": ["x" * 40_000]}):
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        body = {"model": "acme", "messages": ASK, "response_format": form}
        assert "schema" in refused(server, json.dumps(body).encode(), 400)


def test_completions_have_their_own(server: Served) -> None:
    for more, word in (
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ["a"] * 9}, "answers"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": ""}, "empty"),  # the engine's own refusal
    ):
        body = json.dumps({"model": "acme"} | more).encode()
        assert word in refused(server, body, 400, "/v1/completions")


def test_a_body_is_bounded_whether_it_says_its_length_or_not(server: Served) -> None:
    refused(server, b" " * 100_001, 413)
    headers = {"content-type": "application/json"}
    parts = (b" " * 10_000 for _ in range(100))
    try:
        answer = httpx2.post(server.url + CHAT, content=parts, headers=headers)
    except (httpx2.WriteError, httpx2.ReadError):
        pass  # it was answered and closed while the rest was being sent
    else:
        assert answer.status_code == 413
    assert "bytes" in _raw(server, b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: localhost\r\n"
                           b"content-length: 99999999999999999999\r\n\r\n")  # fmt: skip


def test_a_body_that_trickles_is_given_up(server: Served) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n".encode()
    began = time.monotonic()
    assert "408" in _raw(server, head + b"{").partition("\r\n")[0]
    assert time.monotonic() - began < 10


def test_a_connection_that_says_nothing_or_trickles_its_head_is_closed(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copydesk.app.api._connections.HEAD_SECONDS", 0.3)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as silent:
        assert silent.recv(10) == b""
    with (
        socket.create_connection((host, int(port)), timeout=20) as slow,
        contextlib.suppress(OSError),
    ):
        for byte in b"GET /health/live HTTP/1.1\r\nx: " + b"y" * 100:
            slow.sendall(bytes([byte]))
            time.sleep(0.02)
        assert slow.recv(10) == b""
    with httpx2.Client(base_url=server.url) as http:  # one that is kept has time between requests
        for _ in range(2):
            assert http.get("/health/live").status_code == 200
            time.sleep(0.5)


def test_one_that_sends_no_json_type_is_refused(server: Served) -> None:
    """A page in a browser may send text/plain anywhere without being asked; JSON it may not."""
    content = json.dumps({"model": "acme", "messages": ASK, "max_tokens": 1})
    answer = httpx2.post(server.url + CHAT, content=content, headers={"content-type": "text/plain"})
    assert answer.status_code == 400


def test_other_paths_and_methods_are_refused_in_the_same_shape(server: Served) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/%00", 404),
        ("GET", "/v1/%ff", 404),
    ):
        answer = httpx2.request(method, server.url + path)
        assert answer.status_code == status, path
        assert answer.json()["error"]["message"]


def test_a_request_id_is_kept_where_it_can_be_logged(server: Served) -> None:
    for given, kept in (("job-7.a:b_c", True), ("x" * 129, False), ("a b", False), ("é", False)):
        for path in ("/v1/models", "/nowhere", "/health/live"):
            headers = {"x-request-id": given.encode("latin-1")}
            got = httpx2.get(server.url + path, headers=headers).headers["x-request-id"]
            assert (got == given) is kept and got.isascii()
    one, other = (httpx2.get(f"{server.url}/v1/models").headers["x-request-id"] for _ in range(2))
    assert one != other


@pytest.mark.parametrize("log_text", [False, True])
def test_the_log_has_no_word_of_a_prompt_unless_asked(
    server: Served, caplog: pytest.LogCaptureFixture, log_text: bool
) -> None:
    caplog.set_level(logging.INFO, logger="copydesk.serve")
    server.service.log_text = log_text
    secret, id_ = "Kestrel7", f"log-{log_text}"
    ask = [{"role": "user", "content": f"Tell {secret}"}]
    for more in ({}, {"stream": True}, {"temperature": 9}, {secret: 1}, {"response_format": {}}):
        body = {"model": "acme", "messages": ask, "max_tokens": 3} | more
        httpx2.post(server.url + CHAT, json=body, headers={"x-request-id": id_})
    end = time.monotonic() + 5  # a line is written behind the answer
    while len([r for r in caplog.records if f"{id_}" in str(vars(r))]) < 5:
        assert time.monotonic() < end
        time.sleep(0.01)
    server.service.log_text = False
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    ours = [line for line in lines if line.get("request_id") == id_]
    assert len(ours) == 5
    answered = [line for line in ours if line["status"] == 200]
    assert [(line["model"], line["stream"]) for line in answered] == [
        ("acme@1", False),
        ("acme@1", True),
    ]
    assert all(line["completion_tokens"] and line["prompt_tokens"] for line in answered)
    told = json.dumps([line for line in ours if line["status"] == 200])
    assert (secret in told) is log_text
    named = [line["problem"] for line in ours if secret in json.dumps(line) and "text" not in line]
    assert named == [f"{secret}: this parameter is not supported"]  # a parameter's name, no prompt


def _raw(server: Served, content: bytes) -> str:
    """What comes back for these bytes, until the server closes or has said enough."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as made:
        made.sendall(content)
        found = b""
        while b"}}" not in found and (part := made.recv(65536)):
            found += part
    return found.decode()
