"""The official client against a real socket, unchanged."""

import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from handled import Handled
from served import Served, make_version, make_workspace, serving

import copydesk
from copydesk.registry import (
    CanaryRules,
    Standard,
    live_version,
    promote,
    rollback,
    running_canary,
)

ASK = [{"role": "user", "content": "Say something"}]


@pytest.fixture(scope="module")
def root(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openai") / "agency"
    make_workspace(folder, tiny_base, ("acme", "bolt")).close()
    return folder


@pytest.fixture(scope="module")
def server(root: Path, tiny_base: Path) -> Iterator[Served]:
    engine = Handled(tiny_base)
    with serving(root, engine, engine.info.digest) as running:
        yield running


def test_models_are_clients_their_versions_and_the_base(server: Served) -> None:
    listed = [model.id for model in server.client().models.list()]
    assert listed == ["base:tiny", "acme", "acme@1", "bolt", "bolt@1"]
    assert server.client().models.retrieve("bolt").owned_by == "bolt"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        server.client().models.retrieve("nobody")


def test_a_chat_is_answered_by_the_clients_adapter(server: Served) -> None:
    said = {
        model: server.client().chat.completions.create(
            model=model, messages=ASK, max_tokens=12, temperature=0
        )
        for model in ("acme", "bolt", "base:tiny")
    }
    texts = {model: answer.choices[0].message.content for model, answer in said.items()}
    assert len(set(texts.values())) == 3 and all(texts.values())
    answer = said["acme"]
    assert answer.model == "acme@1"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert said["acme"].system_fingerprint != said["bolt"].system_fingerprint


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_adds_up_to_the_answer(server: Served, n: int) -> None:
    more = {"model": "acme", "messages": ASK, "max_tokens": 20, "temperature": 1, "seed": 5, "n": n}
    whole = server.client().chat.completions.create(**more)
    streamed = [""] * n
    finishes: list[str | None] = [None] * n
    roles = [0] * n
    usage = None
    options = {"include_usage": True}
    for chunk in server.client().chat.completions.create(
        **more, stream=True, stream_options=options
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
            roles[choice.index] += choice.delta.role == "assistant"
            finishes[choice.index] = choice.finish_reason or finishes[choice.index]
    assert streamed == [choice.message.content for choice in whole.choices]
    assert finishes == [choice.finish_reason for choice in whole.choices]
    assert roles == [1] * n
    assert usage == whole.usage
    assert len(set(streamed)) == n


def test_the_seed_gives_the_text_again(server: Served) -> None:
    def say(seed: int | None) -> str | None:
        return (
            server.client()
            .chat.completions.create(model="acme", messages=ASK, max_tokens=24, seed=seed)
            .choices[0]
            .message.content
        )

    assert say(7) == say(7) != say(8)
    assert say(None) != say(None)


def test_a_stop_string_ends_the_text_and_is_no_part_of_it(server: Served) -> None:
    create = server.client().chat.completions.create
    asked = {"model": "acme", "messages": ASK, "max_tokens": 30, "temperature": 0}
    free = create(**asked).choices[0].message.content
    assert free
    stop = free[4:6]
    found = create(**asked, stop=[stop]).choices[0]
    assert found.message.content == free[: free.index(stop)]
    assert found.finish_reason == "stop"


def test_logprobs_come_with_each_token(server: Served) -> None:
    asked = {"model": "acme", "messages": ASK, "max_tokens": 6, "temperature": 0}
    answer = server.client().chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None and answer.usage is not None
    assert len(logprobs.content) == answer.usage.completion_tokens
    for token in logprobs.content:
        assert token.logprob == pytest.approx(
            token.top_logprobs[0].logprob
        )  # greedy: the likeliest
        values = [one.logprob for one in token.top_logprobs]
        assert values == sorted(values, reverse=True) and values[0] <= 0 and len(values) == 3


def test_plain_texts_are_continued_many_at_once(server: Served) -> None:
    create = server.client().completions.create
    asked = {"model": "bolt", "max_tokens": 8, "temperature": 0}
    alone = [create(**asked, prompt=text).choices[0].text for text in ("One", "Two")]
    both = create(**asked, prompt=["One", "Two"], n=2, logprobs=2)
    assert [choice.text for choice in both.choices] == [alone[0]] * 2 + [alone[1]] * 2
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    assert both.usage is not None and both.usage.prompt_tokens == 6
    likely = both.choices[0].logprobs
    assert likely is not None and likely.tokens and likely.top_logprobs
    assert len(likely.tokens) == len(likely.token_logprobs or []) == len(likely.text_offset or [])
    streamed = create(**asked, prompt="One", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == alone[0]


def test_an_answer_can_be_sent_back_as_it_came(server: Served) -> None:
    create = server.client().chat.completions.create
    first = create(model="acme", messages=ASK, max_tokens=5).choices[0].message
    again = create(model="acme", messages=[*ASK, first, *ASK], max_tokens=5)
    assert again.choices[0].message.content is not None
    dumped = [*ASK, first.model_dump(), *ASK]
    assert create(model="acme", messages=dumped, max_tokens=5).choices


def test_a_new_version_answers_without_a_restart(
    server: Served, root: Path, tiny_base: Path
) -> None:
    def ask(model: str) -> tuple[str, str | None]:
        answer = server.client().chat.completions.create(
            model=model, messages=ASK, max_tokens=12, temperature=0
        )
        return answer.model, answer.choices[0].message.content

    before = ask("bolt")
    with copydesk.open(root) as workspace:
        make_version(workspace, "bolt", tiny_base, seed=77)
    after = ask("bolt")
    assert (before[0], after[0]) == ("bolt@1", "bolt@2")
    assert before[1] != after[1]
    assert ask("bolt@1") == before and ask("bolt@2") == after


def test_what_is_not_supported_is_refused_by_name(server: Served) -> None:
    create = server.client().chat.completions.create
    for more in (
        {"presence_penalty": 0.5},
        {"logit_bias": {"5": 1.0}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"extra_body": {"guided_regex": "a"}},
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            create(model="acme", messages=ASK, **more)
        assert refused.value.code == "unsupported_parameter"
        assert refused.value.param in {*more, "guided_regex"}
    for neutral in ({"presence_penalty": 0}, {"tools": []}, {"user": "u", "store": False}):
        assert create(model="acme", messages=ASK, max_tokens=2, **neutral).choices


def test_promoting_going_back_and_trying_out_are_live_at_once(
    server: Served, root: Path, tiny_base: Path
) -> None:
    def said(request_id: str = "one") -> str:
        headers = {"x-request-id": request_id}
        return (
            server.client()
            .chat.completions.create(
                model="acme", messages=ASK, max_tokens=4, extra_headers=headers
            )
            .model
        )

    standard = Standard(thresholds="t", base="b")
    with copydesk.open(root) as workspace:
        catalogue = workspace.catalogue
        first = live_version(catalogue, "acme")
        promote(catalogue, first, standard, by="me", force_reason="first")
        second = make_version(workspace, "acme", tiny_base, seed=31)
        assert said() == first.name, "what is only trained does not speak"
        promote(catalogue, second, standard, by="me", force_reason="better")
        assert said() == second.name
        rollback(catalogue, "acme", by="me")
        assert said() == first.name
        rules = CanaryRules(share=0.5, requests=30)
        promote(catalogue, second, standard, by="me", force_reason="try", canary=rules)
        drawn = [said(f"r{number}") for number in range(12)]
        assert set(drawn) == {first.name, second.name}
        assert [said(f"r{number}") for number in range(3)] == drawn[:3], (
            "the same request, the same"
        )
        until = time.monotonic() + 60
        number = 100
        while running_canary(catalogue, "acme") and time.monotonic() < until:
            said(f"r{number}")  # each second the server tells how they ended
            number += 1
            assert number < 400
        assert running_canary(catalogue, "acme") is None
        assert live_version(catalogue, "acme").name == said() == second.name
