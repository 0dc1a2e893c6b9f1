"""Sampling, stop strings, log-probabilities, JSON: against transformers and by identities."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import GREEDY, ask, chat, load
from transformers import TopPLogitsWarper

from copydesk.models import Base, encode_chat, load_base
from copydesk.records import Generate, Piece, Sampling
from copydesk.serve import EngineSettings, LocalEngine, start_engine
from copydesk.serve._drawing import Drawer, _nucleus, draw
from copydesk.serve._text import TextStream


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Base:
    return load(tiny_base, tmp_path)


@pytest.fixture(params=[True, False], ids=["handwritten", "generic"])
def engine(base: Base, request: pytest.FixtureRequest) -> Iterator[LocalEngine]:
    settings = EngineSettings(max_running=8, max_length=600, handwritten=request.param)
    engine = start_engine(base, settings)
    yield engine
    engine.stop()


def _stated(base: Base) -> Any:
    return load_base(base.info, device=base.device, dtype=base.dtype).model


def test_seeds_draw_the_same_alone_and_in_a_batch(engine: LocalEngine) -> None:
    def request(seed: int) -> Generate:
        sampling = Sampling(max_new_tokens=30, temperature=1.3, top_p=0.95, seed=seed)
        return ask("Say something", sampling=sampling)

    alone = [engine.submit(request(seed)).result(60).completion.text for seed in range(5)]
    jobs = [engine.submit(request(seed)) for seed in range(5)]
    assert [job.result(60).completion.text for job in jobs] == alone
    assert len(set(alone)) == 5


def test_repetition_is_penalised_as_in_transformers(engine: LocalEngine, base: Base) -> None:
    model = _stated(base)
    ids = torch.tensor([encode_chat(base.tokenizer, chat("Say something"))])
    texts: list[str] = []
    for penalty in (1.0, 1.3, 0.8):
        sampling = Sampling(max_new_tokens=24, temperature=0, repetition_penalty=penalty)
        found = engine.submit(ask("Say something", sampling=sampling)).result(60)
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            repetition_penalty=penalty,
            pad_token_id=256,
        )
        new = output[0, ids.shape[1] :]
        assert found.completion.text == base.tokenizer.decode(new, skip_special_tokens=True)
        texts.append(found.completion.text)
    assert len(set(texts)) > 1


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("width", [50, 3000])
def test_the_nucleus_is_transformers_own(top_p: float, width: int) -> None:
    source = torch.Generator().manual_seed(width)
    for sharpness in (0.1, 1.0, 5.0):
        scores = torch.randn(width, generator=source) * sharpness
        _, ids = _nucleus(scores.numpy(), top_p)
        warped: Any = TopPLogitsWarper(top_p)(torch.zeros(1, 1).long(), scores[None])
        assert set(ids.tolist()) == set(warped[0].isfinite().nonzero().flatten().tolist())


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_rows_beside_it_change_no_draw(top_p: float) -> None:
    source = torch.Generator().manual_seed(1)
    logits = torch.randn(16, 20_000, generator=source) * 3
    sampling = [Sampling(top_p=top_p, seed=row) for row in range(16)]

    def drawers() -> list[Drawer]:
        made = [Drawer(sampling=each, logprobs=3) for each in sampling]
        for drawer in made:
            drawer.note(range(500))
        return made

    together = draw(logits.clone(), drawers())
    for row, drawer in enumerate(drawers()):
        assert draw(logits[row : row + 1].clone(), [drawer]) == [together[row]]
    for row, drawn in enumerate(together):
        expected = logits[row].log_softmax(-1)
        values, ids = expected.topk(3)
        assert [token for token, _ in drawn.top] == ids.tolist()
        assert [value for _, value in drawn.top] == pytest.approx(values.tolist(), abs=1e-4)
        assert drawn.logprob == pytest.approx(float(expected[drawn.token]), abs=1e-4)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    counts = torch.zeros(4)
    drawer = Drawer(sampling=Sampling(temperature=1, top_p=1, repetition_penalty=1, seed=3))
    for _ in range(4000):
        counts[draw(logits[None].clone(), [drawer])[0].token] += 1
    expected = logits.softmax(-1)
    assert ((counts / 4000 - expected).abs() < 0.03).all()


def test_rows_that_are_not_finite_are_told_from_the_others() -> None:
    logits = torch.zeros(4, 9)
    logits[0, 3] = 1
    logits[1, 2] = torch.nan
    logits[2, 5] = torch.inf
    logits[3, 1:] = -torch.inf
    greedy = [Drawer(sampling=GREEDY) for _ in range(4)]
    drawn = draw(logits, greedy)
    assert [each.finite for each in drawn] == [True, False, False, True]
    assert (drawn[0].token, drawn[3].token) == (3, 0)


def test_stop_strings_end_the_text_and_never_show(engine: LocalEngine) -> None:
    sampling = Sampling(max_new_tokens=60, temperature=1.5, top_p=1.0, seed=5)
    whole = engine.submit(ask("Go", sampling=sampling)).result(60).completion.text
    for stop in (whole[10:13], whole[20:21], whole[-2:]):
        pieces: list[Piece] = []
        job = engine.submit(ask("Go", sampling=sampling, stop=(stop, "\0never")), pieces.append)
        found = job.result(60).completion
        assert found.text == whole[: whole.index(stop)]
        assert found.finish_reason == "stop"
        assert "".join(piece.text for piece in pieces) == found.text


def test_pieces_add_up_and_split_no_character(engine: LocalEngine) -> None:
    """The byte tokenizer draws parts of characters all the time."""
    for seed in range(4):
        pieces: list[Piece] = []
        sampling = Sampling(max_new_tokens=80, temperature=1.5, top_p=1.0, seed=seed)
        found = engine.submit(ask("Go", sampling=sampling), pieces.append).result(60)
        assert "".join(piece.text for piece in pieces) == found.completion.text
        assert len(pieces) > 3


def test_a_character_of_several_tokens_comes_whole(base: Base) -> None:
    stream = TextStream(base.tokenizer, ())
    ids = base.tokenizer("a€ü🙂b", add_special_tokens=False)["input_ids"]
    shown = [stream.push(token) for token in ids]
    assert [text for text in shown if text] == ["a", "€", "ü", "🙂", "b"]
    assert stream.finish() == ""
    cut = TextStream(base.tokenizer, ())
    for token in ids[:3]:
        cut.push(token)
    cut.finish()
    assert cut.text == base.tokenizer.decode(ids[:3], skip_special_tokens=True)


def test_a_stop_string_across_tokens_is_held_back(base: Base) -> None:
    stream = TextStream(base.tokenizer, ("END", "Ex"))
    ids = base.tokenizer("aENxEEND and more", add_special_tokens=False)["input_ids"]
    shown = ""
    for token in ids:
        shown += stream.push(token)
        if stream.stopped:
            break
    assert stream.stopped
    assert shown == stream.text == "aENxE"


def test_logprobs_are_the_models(engine: LocalEngine, base: Base) -> None:
    pieces: list[Piece] = []
    job = engine.submit(ask("Say something", logprobs=3), pieces.append)
    found = job.result(60)
    given = [each for piece in pieces for each in piece.logprobs]
    assert len(given) == found.completion.tokens
    model = _stated(base)
    ids = encode_chat(base.tokenizer, chat("Say something"))
    for each in given[:10]:
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -1].float()
        top, best = logits.log_softmax(-1).topk(3)
        assert each.logprob == pytest.approx(float(top[0]), abs=1e-3)
        assert [value for _, _, value in each.top] == pytest.approx(top.tolist(), abs=1e-3)
        token = int(best[0])
        assert each.token_bytes == (b"<|end|>" if token == 256 else each.token_bytes)
        assert len(each.token_bytes) == 1 or token >= 256
        ids.append(token)
    none = engine.submit(ask("Say something"), lambda piece: pieces.clear() or pieces.append(piece))
    none.result(60)
    assert pieces[-1].logprobs == ()


SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "title": {"type": "string", "maxLength": 12},
            "stars": {"type": "integer", "minimum": 1, "maximum": 5},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["title", "stars", "tags"],
        "additionalProperties": False,
    },
    {"enum": ["yes", "no"]},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_json_follows_its_schema(engine: LocalEngine, schema: dict[str, Any]) -> None:
    requests = [
        ask(
            "Fill in the form",
            json_schema=schema,
            sampling=Sampling(max_new_tokens=300, temperature=temperature, seed=seed),
        )
        for seed, temperature in enumerate((0, 1.0, 1.5))
    ]
    free = engine.submit(ask("Fill in the form"))
    jobs = [engine.submit(request) for request in requests]
    for job in jobs:
        found = job.result(60).completion
        value = json.loads(found.text)
        assert found.finish_reason == "stop"
        if "enum" in schema:
            assert value in ("yes", "no")
        else:
            assert list(value) == ["title", "stars", "tags"]
            assert 1 <= value["stars"] <= 5
            assert len(value["title"]) <= 12
            assert set(value["tags"]) <= {"a", "b"}
    assert (
        free.result(60).completion.text
        == engine.submit(ask("Fill in the form")).result(60).completion.text
    )
