"""Examples as token ids, beside the chat template rendered whole and transformers' own loss."""

from pathlib import Path

import pytest
import torch
from conftest import TEMPLATE, byte_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from copydesk.errors import InvalidInput
from copydesk.models import (
    ATTENTION,
    BaseStore,
    Encoded,
    EncodedCache,
    EncodedSet,
    answer_losses,
    encode_chat,
    encode_example,
    encode_examples,
    load_base,
    pack,
    untuned,
)
from copydesk.models._overlong import fit
from copydesk.records import Example, Message

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content | trim }}<|end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""As Qwen and SmolLM2 write it: a line break after the role and after the end of a turn."""
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}{% generation %} {{ m.content }}<|end|>{% endgeneration %}{% endif %}{% endfor %}"
)
"""As Llama 2 and Mistral write it: no word for the assistant's turn."""
UNENDED = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
"""Turns end with the line, by no token."""
THOUGHTS = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if loop.last and m.role == 'assistant' %}(thought){% endif %}{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The last answer is rendered otherwise than the earlier ones."""
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"

CHAT = Example(
    id="chat",
    messages=(
        Message(role="user", content="Which tea wakes me?"),
        Message(role="assistant", content="Assam."),
        Message(role="user", content="And at night?"),
        Message(role="assistant", content="Rooibos, hot."),
    ),
    learned=(1, 3),
)
TEXT = Example(
    id="text", messages=(Message(role="assistant", content="Tea is hot."),), learned=(0,)
)


def tokenizer_of(template: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def turns(example: Example) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in example.messages]


def mask(encoded: Encoded) -> list[int]:
    return [int(any(a <= i < b for a, b in encoded.spans)) for i in range(len(encoded.ids))]


def only(encoded: EncodedSet) -> Encoded:
    (one,) = encoded.examples
    return one


@pytest.mark.parametrize("template", [CHATML, INST], ids=["chatml", "inst"])
def test_ids_and_loss_are_those_of_the_template_rendered_whole(template: str) -> None:
    """transformers marks the assistant's tokens itself, where a template says which they are."""
    tokenizer = tokenizer_of(template)
    whole = tokenizer.apply_chat_template(
        turns(CHAT), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    found = only(encode_examples(tokenizer, [CHAT], max_length=1000))
    length = len(found.ids)
    assert list(found.ids) == whole["input_ids"][:length]
    assert tokenizer.decode(whole["input_ids"][length:]).strip() == ""
    expected = whole["assistant_masks"][:length]
    assert mask(found) == expected
    assert found.answer_length == sum(expected)


@pytest.mark.parametrize("template", [TEMPLATE, CHATML, INST], ids=["plain", "chatml", "inst"])
def test_each_turn_is_learned_after_what_stands_before_it_when_it_is_written(template: str) -> None:
    tokenizer = tokenizer_of(template)
    found = only(encode_examples(tokenizer, [CHAT], max_length=1000))
    for turn, (start, _) in zip(CHAT.learned, found.spans, strict=True):
        assert list(found.ids[:start]) == encode_chat(tokenizer, CHAT.messages[:turn])


def test_only_the_turns_that_are_named_carry_loss() -> None:
    tokenizer = tokenizer_of(TEMPLATE)
    both = only(encode_examples(tokenizer, [CHAT], max_length=1000))
    last = Example(id="chat", messages=CHAT.messages, learned=(3,))
    first = Example(id="chat", messages=CHAT.messages, learned=(1,))
    found = only(encode_examples(tokenizer, [last], max_length=1000))
    assert found.ids == both.ids and found.spans == both.spans[1:]
    found = only(encode_examples(tokenizer, [first], max_length=1000))
    assert found.spans == both.spans[:1] and found.ids == both.ids[: both.spans[0][1]]


def test_a_page_is_encoded_as_one_answer() -> None:
    tokenizer = tokenizer_of(CHATML)
    page = Example(id="page", messages=CHAT.messages[:2], learned=(1,))
    alone = encode_example(tokenizer, "page", CHAT.messages[:1], "Assam.", max_length=1000)
    assert only(encode_examples(tokenizer, [page], max_length=1000)) == alone
    assert tokenizer.decode(alone.ids[alone.prompt_length :]) == "Assam.<|end|>"


def test_a_template_without_an_end_of_turn_gets_one_at_the_end() -> None:
    tokenizer = tokenizer_of(UNENDED)
    found = only(encode_examples(tokenizer, [CHAT], max_length=1000))
    said = [tokenizer.decode(found.ids[a:b]) for a, b in found.spans]
    assert said == ["Assam.", "Rooibos, hot.<|end|>"]


def test_a_template_that_rewrites_earlier_turns_gives_each_its_own_sequence() -> None:
    tokenizer = tokenizer_of(THOUGHTS)
    found = encode_examples(tokenizer, [CHAT], max_length=1000)
    assert (len(found.examples), found.split, found.dropped) == (2, 0, 0)
    for one, turn in zip(found.examples, CHAT.learned, strict=True):
        assert list(one.ids[: one.prompt_length]) == encode_chat(tokenizer, CHAT.messages[:turn])
        whole = tokenizer.apply_chat_template(turns(CHAT)[: turn + 1], tokenize=False)
        assert tokenizer.decode(one.ids) == whole
        said = tokenizer.decode(one.ids[one.prompt_length :])
        assert said == f"(thought){CHAT.messages[turn].content}<|end|>"


def test_a_template_that_starts_an_answer_otherwise_has_the_answer_follow_its_start() -> None:
    """As DeepSeek R1's, which opens a thought that a finished turn does not show."""
    opened = TEMPLATE.replace("<|assistant|>{% endif %}", "<|assistant|><{% endif %}")
    tokenizer = tokenizer_of(opened)
    found = encode_examples(tokenizer, [CHAT], max_length=1000)
    for one, turn in zip(found.examples, CHAT.learned, strict=True):
        assert list(one.ids[: one.prompt_length]) == encode_chat(tokenizer, CHAT.messages[:turn])
        said = tokenizer.decode(one.ids[one.prompt_length :])
        assert said == f"{CHAT.messages[turn].content}<|end|>"


def test_a_chat_that_the_template_refuses_is_the_callers_mistake() -> None:
    example = Example(
        id="a", messages=(Message(role="system", content="Be brief."), *CHAT.messages), learned=(2,)
    )
    with pytest.raises(InvalidInput, match=r"refuses a chat of system, user.*no system turn"):
        encode_examples(tokenizer_of(STRICT), [example], max_length=100)


def test_a_plain_text_is_all_learned_but_its_first_token() -> None:
    tokenizer = tokenizer_of(TEMPLATE)
    found = only(encode_examples(tokenizer, [TEXT], max_length=100))
    assert tokenizer.decode(found.ids) == "Tea is hot.<|end|>"
    assert found.spans == ((1, len(found.ids)),)


def test_packed_loss_of_chats_and_texts_is_transformers_own(tiny_base: Path) -> None:
    info = BaseStore(tiny_base / "no-cache").find(str(tiny_base))
    cpu = torch.device("cpu")
    base = load_base(info, device=cpu, dtype=torch.float32, attention=ATTENTION)
    examples = encode_examples(base.tokenizer, [CHAT, TEXT, CHAT], max_length=1000).examples
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    for example, found in zip(examples, answer_losses(untuned(base), pack(examples)), strict=True):
        labels = torch.tensor(
            [
                [
                    token if learned else -100
                    for token, learned in zip(example.ids, mask(example), strict=True)
                ]
            ]
        )
        with torch.no_grad():
            expected = float(plain(input_ids=torch.tensor([example.ids]), labels=labels).loss)
        assert found.tokens == example.answer_length
        assert found.loss / found.tokens == pytest.approx(expected, rel=1e-5)


@st.composite
def sequences(draw: st.DrawFn) -> Encoded:
    """Ids that are their own positions, so that a part shows where it was taken from."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=2, max_size=8).filter(lambda x: sum(x)))
    lengths = lengths[: len(lengths) // 2 * 2]  # silent and learned in turn
    ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    gaps = tuple(zip(ends[1:-1:2], ends[2:-1:2], strict=True))
    return Encoded(id="a", ids=tuple(range(ends[-1])), prompt_length=lengths[0], gaps=gaps)


@settings(max_examples=300, deadline=None, database=None)
@given(sequences(), st.integers(2, 60))
def test_what_the_limit_leaves(example: Encoded, limit: int) -> None:
    learned = [i for a, b in example.spans for i in range(a, b)]
    prompt = example.prompt_length
    if len(example.ids) <= limit:
        for overlong in ("cut", "split", "drop"):
            assert fit(example, limit, overlong) == (example,)
        return
    assert fit(example, limit, "drop") == ()
    if prompt >= limit:
        assert fit(example, limit, "cut") == fit(example, limit, "split") == ()
        return
    (cut,) = fit(example, limit, "cut")
    assert cut.cut and len(cut.ids) <= limit
    assert cut.ids == example.ids[: len(cut.ids)]
    kept = [i for a, b in cut.spans for i in cut.ids[a:b]]
    assert kept == [i for i in learned if i < limit]
    parts = fit(example, limit, "split")
    if prompt > limit / 2:
        assert parts == (cut,)
        return
    assert all(len(part.ids) <= limit and not part.cut for part in parts)
    assert [i for part in parts for a, b in part.spans for i in part.ids[a:b]] == learned
    for part in parts:
        assert part.answer_length > 0 and len(part.ids) == part.spans[-1][1]
        if prompt > 1:
            assert part.ids[:prompt] == example.ids[:prompt]
        else:
            assert part.ids == tuple(range(part.ids[0], part.ids[-1] + 1)), "it goes on"


@settings(max_examples=100, deadline=None, database=None)
@given(sequences(), st.data())
def test_an_answer_can_be_shortened(example: Encoded, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, example.answer_length))
    short = example.with_answer(count)
    learned = [i for a, b in example.spans for i in range(a, b)]
    assert [i for a, b in short.spans for i in short.ids[a:b]] == learned[:count]
    assert short.ids == example.ids[: len(short.ids)] and short.ids[-1] == learned[count - 1]


def test_what_the_limit_did_is_counted() -> None:
    tokenizer = tokenizer_of(TEMPLATE)
    fits = Example(id="a", messages=CHAT.messages[:2], learned=(1,))
    answer = Message(role="assistant", content="word " * 30)
    long = Example(id="b", messages=(CHAT.messages[2], answer), learned=(1,))
    asks = Message(role="user", content="word " * 30)
    crowded = Example(id="c", messages=(asks, answer), learned=(1,))
    counted = {
        overlong: encode_examples(
            tokenizer, [fits, long, crowded], max_length=60, overlong=overlong
        )
        for overlong in ("cut", "split", "drop")
    }
    counts = {name: (one.cut, one.split, one.dropped) for name, one in counted.items()}
    assert counts == {"cut": (1, 0, 1), "split": (0, 1, 1), "drop": (0, 0, 2)}
    assert {one.id for one in counted["split"].examples} == {"a", "b"}


def test_an_encoded_set_is_kept_and_read_back(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(TEMPLATE)
    cache = EncodedCache(folder=tmp_path / "acme", base_digest="base")
    examples = [CHAT, TEXT, Example(id="c", messages=CHAT.messages, learned=(3,))]
    plain = encode_examples(tokenizer, examples, max_length=45, overlong="split")
    made = encode_examples(tokenizer, examples, max_length=45, overlong="split", cache=cache)
    assert made == plain and plain.split
    (kept,) = (tmp_path / "acme").iterdir()
    # A tokenizer that cannot encode: what comes now was read.
    read = encode_examples(tokenizer_of(""), examples, max_length=45, overlong="split", cache=cache)
    assert read == plain
    with pytest.raises(InvalidInput, match="no chat template"):
        encode_examples(tokenizer_of(""), examples, max_length=46, cache=cache)
    other = EncodedCache(folder=tmp_path / "acme", base_digest="another")
    keys = {
        cache.key(examples, max_length=45, overlong="split"),
        cache.key(examples, max_length=45, overlong="cut"),
        cache.key(examples, max_length=46, overlong="split"),
        cache.key(examples[::-1], max_length=45, overlong="split"),
        other.key(examples, max_length=45, overlong="split"),
    }
    assert len(keys) == 5 and kept.name == next(k for k in keys if k.startswith(kept.name))[:32]


@pytest.mark.parametrize("file", ["encoded.safetensors", "names.json", "manifest.json"])
def test_a_damaged_set_is_made_again(tmp_path: Path, file: str) -> None:
    tokenizer = tokenizer_of(TEMPLATE)
    cache = EncodedCache(folder=tmp_path, base_digest="base")
    plain = encode_examples(tokenizer, [CHAT, TEXT], max_length=100, cache=cache)
    (kept,) = tmp_path.iterdir()
    whole = (kept / file).read_bytes()
    for wrong in (whole[:-1], whole[:9] + bytes([whole[9] ^ 1]) + whole[10:], b"", None):
        (kept / file).unlink()
        if wrong is not None:
            (kept / file).write_bytes(wrong)
        assert encode_examples(tokenizer, [CHAT, TEXT], max_length=100, cache=cache) == plain
        assert (kept / "encoded.safetensors").stat().st_size > 0
    if file != "manifest.json":
        assert (kept / file).read_bytes() == whole


def test_only_the_newest_sets_are_kept(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(TEMPLATE)
    cache = EncodedCache(folder=tmp_path, base_digest="base")
    for limit in range(60, 80):
        encode_examples(tokenizer, [TEXT], max_length=limit, cache=cache)
    assert len(list(tmp_path.iterdir())) == 16
    assert cache.read(cache.key([TEXT], max_length=79, overlong="cut")) is not None
