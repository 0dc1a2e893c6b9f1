"""The instruction probe: rules on answers written by hand, batches beside one by one."""

from pathlib import Path

import pytest
import torch
from conftest import write_tiny_base

from copydesk.evaluate import (
    InstructionTask,
    follows,
    instruction_answers,
    instruction_digest,
    instruction_tasks,
    instructions_followed,
)
from copydesk.models import BaseStore, Tuned, find_method, load_base, untuned

CPU = torch.device("cpu")
RIGHT = {
    "one-word-colour": "Green.",
    "one-word-day": "Tuesday",
    "yes-or-no": "Yes.",
    "number-only": "8",
    "three-items": "- Apple\n- Pear\n- Plum",
    "four-items": "- Knife\n- Pan\n- Spoon\n- Sieve",
    "numbered-two": "1. Keep the room dark.\n2. Put the phone away.",
    "lower-case": "the sea is calm today.",
    "upper-case": "HELLO THERE!",
    "contains-lantern": "She held the Lantern high.",
    "contains-two": "The bridge crosses the river.",
    "avoids-the": "A small cat sleeps on a chair.",
    "avoids-snow": "Winter is cold and dark.",
    "json-city": '```json\n{"city": "Paris", "country": "France"}\n```',
    "json-book": '{"title": "Emma", "year": 1815}',
    "starts-indeed": "Indeed, bread is baked daily.",
    "ends-done": "The garden is green. DONE.",
    "no-commas": "Trains run on rails.",
    "at-most-ten": "Water falls from clouds.",
    "comma-list": "Mars, Venus, Saturn",
    "quoted": '"Fresh every morning."',
    "question": "Will it rain tomorrow?",
    "title-marks": "<<The Long Way Home>>",
    "two-parts": "Tea *** Lemonade",
}
WRONG = {
    "one-word-colour": ["The colour is green.", ""],
    "one-word-day": ["Sunday"],
    "yes-or-no": ["Yes, ice is colder."],
    "number-only": ["A spider has 8 legs.", "eight"],
    "three-items": [
        "- Apple\n- Pear",
        "Here are three:\n- Apple\n- Pear\n- Plum",
        "-Apple\n- b\n- c",
    ],
    "four-items": ["- a\n- b\n- c\n- d\n- e"],
    "numbered-two": ["1. One\n3. Two", "1. One"],
    "lower-case": ["The sea is calm."],
    "upper-case": ["Hello"],
    "contains-lantern": ["She held lanterns."],
    "contains-two": ["The river is wide."],
    "avoids-the": ["The cat sleeps."],
    "avoids-snow": ["Snow falls."],
    "json-city": ['{"city": "Paris"}', "city: Paris", '["city", "country"]'],
    "json-book": ['{"title": "Emma", "year": 1815, "author": "Austen"}'],
    "starts-indeed": ["Bread, indeed."],
    "ends-done": ["DONE is the garden."],
    "no-commas": ["Fast, loud trains."],
    "at-most-ten": ["Rain is water that falls from the clouds high up in the sky."],
    "comma-list": [
        "Mars, Venus",
        "Three planets are Mars, Venus, Saturn",
        "Sure:\nMars, Venus, Saturn, Earth",
    ],
    "quoted": ["Fresh every morning."],
    "question": ["It will rain."],
    "title-marks": ["The Long Way Home"],
    "two-parts": ["Tea, lemonade", "*** Tea"],
}


def test_every_task_knows_a_right_answer_from_wrong_ones() -> None:
    tasks = {task.id: task for task in instruction_tasks()}
    assert len(tasks) == 24 and tasks.keys() == RIGHT.keys() == WRONG.keys()
    for name, task in tasks.items():
        assert follows(task, f"  {RIGHT[name]}\n"), name
        for answer in WRONG[name]:
            assert not follows(task, answer), (name, answer)


def test_the_tasks_are_these() -> None:
    # Scores are compared between releases: a change of the tasks is a decision.
    assert instruction_digest()[:16] == "aeb05ecedc7af954"


def prepared(base: Path, method: str) -> Tuned:
    info = BaseStore(base / "no-cache").find(str(base))
    loaded = load_base(info, device=CPU, dtype=torch.float32)
    if method == "base":
        return untuned(loaded)
    chosen = find_method(method)
    return chosen.prepare(loaded, chosen.settings(), 3)


@pytest.mark.parametrize("method", ["base", "prompt"])
def test_a_batch_answers_as_each_would_alone(tmp_path: Path, method: str) -> None:
    tuned = prepared(write_tiny_base(tmp_path / "base"), method)
    tasks = instruction_tasks()[:6]
    together = instruction_answers(tuned, tasks, max_new_tokens=8)
    alone = [instruction_answers(tuned, [task], max_new_tokens=8)[0] for task in tasks]
    assert list(together) == alone
    assert len(set(together)) > 1, "the answers depend on what was asked"


def test_a_random_model_does_as_told_by_chance_alone(tiny_base: Path) -> None:
    followed = instructions_followed(prepared(tiny_base, "base"))
    assert len(followed) == 24
    assert sum(followed) < 8


def test_an_unknown_rule_is_our_bug() -> None:
    with pytest.raises(KeyError):
        follows(InstructionTask(id="x", prompt="?", checks=({"kind": "magic"},)), "answer")
