"""A start that examples share is run once, behind the method's virtual tokens too."""

from pathlib import Path

import pytest
import torch
from conftest import write_tiny_base
from references import disturb, packed_base

from copydesk.evaluate import score
from copydesk.models import Tuned, answer_losses, encode_example, find_method, pack, prefix_states
from copydesk.records import Message


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("method", ["lora", "prompt", "prefix", "bottleneck"])
def test_a_shared_start_changes_no_loss(tmp_path: Path, family: str, method: str) -> None:
    base = packed_base(write_tiny_base(tmp_path / "base", family))
    tuned: Tuned = find_method(method).prepare(base, find_method(method).settings(), 0)
    disturb(tuned)
    shared = Message(role="system", content="Write as the sea does. " * 5)
    examples = [
        encode_example(
            base.tokenizer,
            str(number),
            [shared, Message(role="user", content="Of rain. " * number)],
            "It rained all day. " * (number + 1),
            max_length=2048,
        )
        for number in range(3)
    ]
    count = 100
    assert len({example.ids[:count] for example in examples}) == 1
    alone = [answer_losses(tuned, pack([example]))[0].loss for example in examples]
    with torch.no_grad():
        before = prefix_states(tuned, examples[0].ids[:count])
    assert before[0][0].shape[2] == count + tuned.virtual_tokens
    rest = pack([example.without_start(count) for example in examples])
    found = [item.loss for item in answer_losses(tuned, rest, prefix=before)]
    assert found == pytest.approx(alone, rel=1e-5)
    assert [item.loss for item in score(tuned, examples)] == pytest.approx(alone, rel=1e-5)
