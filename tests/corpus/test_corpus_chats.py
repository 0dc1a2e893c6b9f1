"""Ready-made examples in the forms people have: told apart, read, refused by line."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.corpus import CurateSettings, curate, material_example, read_sources
from copydesk.errors import CopydeskError
from copydesk.records import Chat, Document, Material, Message, Rejection

SYSTEM = {"role": "system", "content": "You sell tea."}
ASK = {"role": "user", "content": "Which tea wakes me?"}
ANSWER = {"role": "assistant", "content": "Assam, brewed strong."}
ASK_2 = {"role": "user", "content": "And at night?"}
ANSWER_2 = {"role": "assistant", "content": "Rooibos."}
TURNS = [SYSTEM, ASK, ANSWER, ASK_2, ANSWER_2]
PLAIN = " ".join(f"word{n}" for n in range(25))


def read(path: Path, *records: object) -> list[Material | Rejection]:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return list(read_sources([path], client="acme", settings=CurateSettings()))


def messages(*turns: dict[str, str]) -> tuple[Message, ...]:
    return tuple(Message(**turn) for turn in turns)  # type: ignore[arg-type]


FORMS: list[tuple[str, dict[str, object], tuple[Message, ...], tuple[int, ...]]] = [
    ("messages", {"messages": TURNS}, messages(*TURNS), (2, 4)),
    (
        "prompt-completion",
        {"prompt": " Which tea wakes me?", "completion": "Assam, brewed strong.\n"},
        messages(ASK, ANSWER),
        (1,),
    ),
    (
        "prompt-completion",
        {"prompt": TURNS[:4], "completion": [ANSWER_2]},
        messages(*TURNS),
        (4,),
    ),
    (
        "prompt-completion",
        {"prompt": [SYSTEM, ASK], "completion": "Assam, brewed strong."},
        messages(SYSTEM, ASK, ANSWER),
        (2,),
    ),
    (
        "alpaca",
        {"instruction": "Which tea wakes me?", "input": "", "output": "Assam, brewed strong."},
        messages(ASK, ANSWER),
        (1,),
    ),
    (
        "alpaca",
        # As in the Alpaca file itself, which repeats the whole as `text`.
        {"instruction": "Translate.", "input": "the", "output": "tea", "text": "Below is an"},
        (
            Message(role="user", content="Translate.\n\nthe"),
            Message(role="assistant", content="tea"),
        ),
        (1,),
    ),
    (
        "sharegpt",
        {
            "system": "You sell tea.",
            "conversations": [
                {"from": "human", "value": "Which tea wakes me?"},
                {"from": "gpt", "value": "Assam, brewed strong."},
            ],
        },
        messages(SYSTEM, ASK, ANSWER),
        (2,),
    ),
    (
        "messages",
        {
            "messages": [
                {"role": "developer", "content": "You sell tea."},
                {"role": "user", "content": [{"type": "text", "text": "Which tea wakes me?"}]},
                ANSWER | {"weight": 0},
                ASK_2,
                ANSWER_2 | {"weight": 1},
            ]
        },
        messages(*TURNS),
        (4,),
    ),
]


@pytest.mark.parametrize(("form", "record", "turns", "learned"), FORMS)
def test_each_form_spells_a_chat(
    tmp_path: Path,
    form: str,
    record: dict[str, object],
    turns: tuple[Message, ...],
    learned: tuple[int, ...],
) -> None:
    (chat,) = read(tmp_path / "a.jsonl", record | {"id": "a", "date": "2024-02-10"})
    assert isinstance(chat, Chat)
    assert (chat.form, chat.messages, chat.learned) == (form, turns, learned)
    assert (chat.id, chat.date, chat.source) == ("a", "2024-02-10", "a.jsonl:1")
    example = material_example(chat)
    assert (example.messages, example.learned, example.brief) == (turns, learned, None)


REFUSED: list[tuple[object, str, str]] = [
    ({"messages": [{"role": "tool", "content": "x"}]}, "unknown-role", "'tool'"),
    ({"messages": [ASK, {"role": "narrator", "content": "x"}]}, "unknown-role", "messages[1]"),
    ({"messages": [ASK]}, "no-answer", "no turn of the assistant"),
    ({"messages": []}, "no-answer", "no turn of the assistant"),
    ({"messages": [ASK, ANSWER, ASK_2]}, "no-answer", "last turn"),
    ({"messages": [ASK, ANSWER | {"weight": 0}]}, "no-answer", "weight 0"),
    ({"messages": [ASK, ANSWER | {"weight": 0.5}]}, "bad-field", "weight"),
    ({"messages": [ASK, ANSWER | {"content": " \n"}]}, "empty-content", "messages[1].content"),
    ({"messages": [ANSWER]}, "not-alternating", "Turn 1 is the assistant's"),
    ({"messages": [ASK, ASK_2, ANSWER]}, "not-alternating", "Turn 2 is the user's"),
    ({"messages": [ASK, ANSWER, SYSTEM, ANSWER]}, "not-alternating", "Turn 3 is the system's"),
    ({"messages": [SYSTEM, ANSWER]}, "not-alternating", "Turn 2 is the assistant's"),
    ({"messages": "Hi"}, "bad-field", "not a list"),
    ({"messages": ["Hi"]}, "bad-field", "messages[0]"),
    ({"messages": [{"role": 3, "content": "x"}]}, "bad-field", "a number"),
    ({"messages": [{"content": "x"}]}, "bad-field", "nothing as its `role`"),
    ({"messages": [ASK, ANSWER | {"content": None}]}, "bad-field", "nothing, not text"),
    ({"messages": [ASK, ANSWER | {"content": [{"type": "image_url"}]}]}, "bad-field", "a list"),
    ({"messages": [ASK, ANSWER | {"tool_calls": [{"id": 1}]}]}, "bad-field", "calls a tool"),
    ({"messages": [ASK, ANSWER | {"content": "\0"}]}, "null-bytes", "NUL"),
    ({"messages": [ASK, ANSWER | {"content": "\ud800"}]}, "not-utf8", "surrogate"),
    ({"messages": [ASK, ANSWER | {"content": "x" * 200_001}]}, "too-long", "200,0"),
    ({"messages": [ASK, ANSWER], "date": "soon"}, "bad-date", "soon"),
    ({"prompt": "x"}, "bad-field", "`completion` holds nothing"),
    ({"prompt": [ASK], "completion": [ASK_2]}, "no-answer", "no turn of the assistant"),
    ({"prompt": TURNS[:3], "completion": "x"}, "not-alternating", "Turn 4"),
    ({"completion": "x"}, "bad-field", "`prompt` holds nothing"),
    ({"instruction": "x", "output": ""}, "empty-content", "`output`"),
    ({"instruction": "x", "input": 3, "output": "y"}, "bad-field", "`input` holds a number"),
    ({"conversations": [{"from": "bot", "value": "x"}]}, "unknown-role", "'bot'"),
    ({"conversations": [{"from": "human", "value": 3}]}, "bad-field", "conversations[0].value"),
]


def test_wrong_records_are_refused_by_line_and_the_rest_kept(tmp_path: Path) -> None:
    good = {"messages": [ASK, ANSWER]}
    found = read(tmp_path / "a.jsonl", good, *(record for record, _, _ in REFUSED), good)
    assert isinstance(found[0], Chat) and isinstance(found[-1], Chat)
    assert len(found) == len(REFUSED) + 2
    for line, (item, (_, rule, said)) in enumerate(zip(found[1:-1], REFUSED, strict=True), start=2):
        assert isinstance(item, Rejection)
        assert (item.line, item.rule) == (line, rule), item
        assert said in item.reason and item.reason.endswith("."), item


def test_text_alone_is_a_plain_text_and_a_heading_makes_it_a_page(tmp_path: Path) -> None:
    plain, page, titled, named = read(
        tmp_path / "a.jsonl",
        {"text": PLAIN, "date": "2024-02-10"},
        {"text": f"# Tea\n\n{PLAIN * 3}"},
        {"text": PLAIN * 3, "title": "Tea", "messages": "of ours"},
        {"text": PLAIN, "description": "a page that lost its title"},
    )
    assert isinstance(plain, Document) and isinstance(page, Document)
    assert (plain.form, plain.title, plain.format) == ("text", "", "text")
    assert (page.form, page.title) == ("page", "Tea")
    assert isinstance(titled, Document) and titled.form == "page"
    assert isinstance(named, Rejection) and named.rule == "no-title"
    example = material_example(plain)
    assert example.is_plain_text and (example.text, example.learned) == (PLAIN, (0,))


def test_json_files_hold_lists_objects_or_lines(tmp_path: Path) -> None:
    chat, other = {"messages": [ASK, ANSWER]}, {"messages": [ASK_2, ANSWER_2]}

    def lines(name: str, content: str) -> list[int | None]:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        found = list(read_sources([path], client="acme", settings=CurateSettings()))
        sources = [item.source for item in found if isinstance(item, Chat)]
        assert len(sources) == len(found)
        return [int(source.rpartition(":")[2]) for source in sources]

    whole = json.dumps([chat, other], indent=1)
    assert lines("a.json", whole) == [2, 14]
    assert lines("b.json", "\ufeff\n" + json.dumps(chat, indent=1)) == [2]
    assert lines("c.json", f"{json.dumps(chat)}\n{json.dumps(other)}\n") == [1, 2]


def test_a_list_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    good = json.dumps({"messages": [ASK, ANSWER]})
    for rest, expected in (
        ("3,\n{", [(2, "not-an-object"), (3, "not-json")]),
        ("3\n4", [(2, "not-json")]),
        ("3\n", [(2, "not-json")]),
        ("", [(2, "not-json")]),
    ):
        path.write_text(f"[{good},\n{rest}", encoding="utf-8")
        found = list(read_sources([path], client="acme", settings=CurateSettings()))
        assert isinstance(found[0], Chat)
        assert [(r.line, r.rule) for r in found if isinstance(r, Rejection)] == expected


def test_chats_are_told_apart_by_what_is_asked_and_answered(tmp_path: Path) -> None:
    """A long shared instruction, or short equal answers, make no duplicates; both together do."""
    shared = "Write one line for the shop window in our voice and keep it short " * 4

    def chat(asked: str, answer: str) -> dict[str, object]:
        system = {"role": "system", "content": "We sell tea by the river. " * 30}
        return {
            "messages": [
                system,
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ]
        }

    colours = ["red", "blue", "green", "amber", "black", "white", "violet", "pink", "grey", "teal"]
    colours += ["brown", "gold"]
    records = [
        *(chat(f"{shared} about {c}", f"{c} {c} leaves, {c} cups, {c} day") for c in colours),
        *(
            chat(f"Is the {c} tin of the {n}th shelf still {c} today?", "Yes.")
            for n, c in enumerate(colours)
        ),
        chat(f"{shared} about red", "red red leaves, red cups, red day"),
        chat(f"{shared} about red ones", "red red leaves, red cups, red day"),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    found = curate([path], client="acme")
    assert [(r.line, r.rule) for r in found.rejected] == [
        (25, "exact-duplicate"),
        (26, "near-duplicate"),
    ]
    assert found.forms == {"messages": 24}
    assert len(found.train) + len(found.heldout) == 24


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "weight", "type", "text"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]) | JSON,
        "content": st.text(max_size=8) | JSON,
    },
    optional={"weight": JSON, "tool_calls": JSON, "from": JSON, "value": JSON},
)
KEYS = ["messages", "conversations", "prompt", "completion", "instruction", "input", "output"]
RECORDS = st.dictionaries(
    st.sampled_from([*KEYS, "text", "title", "system", "id", "date", "format"]),
    JSON | st.lists(TURN | JSON, max_size=4),
    max_size=5,
)


@settings(
    max_examples=250,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(RECORDS | JSON, min_size=1, max_size=4), st.booleans())
def test_any_record_is_taken_or_refused_with_a_reason(
    tmp_path: Path, records: list[object], as_list: bool
) -> None:
    path = tmp_path / ("a.json" if as_list else "a.jsonl")
    spelled = json.dumps(records) if as_list else "\n".join(map(json.dumps, records))
    path.write_text(spelled, encoding="utf-8")
    try:
        found = list(read_sources([path], client="acme", settings=CurateSettings()))
    except CopydeskError:
        return
    assert len(found) == len(records)
    for item in found:
        if isinstance(item, Chat):
            spoken = item.messages[item.messages[0].role == "system" :]
            assert [turn.role for turn in spoken] == ["user", "assistant"] * (len(spoken) // 2)
            assert spoken and item.learned
            assert all(item.messages[turn].role == "assistant" for turn in item.learned)
            assert all(turn.content.strip() for turn in item.messages)
        elif isinstance(item, Rejection):
            assert item.reason.endswith(".") and item.rule


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.text(alphabet='[]{},:"\\ \n0a', max_size=24) | st.text(max_size=12))
def test_any_bytes_in_a_json_file_are_survived(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    try:
        found = list(read_sources([path], client="acme", settings=CurateSettings()))
    except CopydeskError:
        return
    assert all(isinstance(item, Rejection) for item in found)
