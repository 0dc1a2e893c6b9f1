"""The prompted rival: what it is shown, and that it stays within its limit."""

import pytest
from conftest import byte_tokenizer

from copydesk.corpus import brief_text
from copydesk.models import encode_chat
from copydesk.records import Brief, Example, Message, StyleGuide
from copydesk.study import prompted_chat

LIMIT = 3072
TOKENIZER = byte_tokenizer()
BRIEF = Brief(title="Sweet peas", format="blog", keyword="peas", length=100)
ASKED = (Message(role="user", content=brief_text(BRIEF)),)


def examples(count: int, words: int) -> list[Example]:
    return [
        Example(
            id=str(number),
            messages=(
                Message(
                    role="user", content=brief_text(Brief(title=f"Page {number}", format="blog"))
                ),
                Message(role="assistant", content=f"page{number} " * words),
            ),
            learned=(1,),
        )
        for number in range(count)
    ]


def test_the_whole_chat() -> None:
    guide = StyleGuide(
        voice=" Be warm. ",
        banned=("leverage", "hack"),
        prefer={"yard": "garden", "dirt": "soil"},
    )
    shown = examples(5, 3)
    asked: list[Message] = []
    for example in shown[:3]:
        asked.extend(example.messages)
    assert prompted_chat(ASKED, guide, shown, TOKENIZER) == (
        Message(
            role="system",
            content="Be warm.\n\nNever use: leverage, hack.\n\n"
            "Say: garden instead of yard; soil instead of dirt",
        ),
        *asked,
        Message(role="user", content=brief_text(BRIEF)),
    )


def test_without_a_guide_there_is_no_system_turn() -> None:
    chat = prompted_chat(ASKED, StyleGuide(), examples(1, 3), TOKENIZER)
    assert [turn.role for turn in chat] == ["user", "assistant", "user"]
    assert prompted_chat(ASKED, StyleGuide(), [], TOKENIZER) == (
        Message(role="user", content=brief_text(BRIEF)),
    )


@pytest.mark.parametrize("voice", ["Be warm. " * 20_000, "é☃" * 30_000, "x" * 3000, "x" * 4000])
@pytest.mark.parametrize("words", [3, 90, 5000])
def test_a_huge_guide_or_huge_pages_stay_within_the_limit(voice: str, words: int) -> None:
    guide = StyleGuide(voice=voice, banned=tuple(f"word{n}" for n in range(400)))
    chat = prompted_chat(ASKED, guide, examples(3, words), TOKENIZER)
    length = len(encode_chat(TOKENIZER, chat))
    assert length <= LIMIT
    assert length > LIMIT // 2, "the limit is made use of"
    assert chat[-1] == Message(role="user", content=brief_text(BRIEF))
    assert chat[0].role == "system" and voice.startswith(chat[0].content[:100])


def test_pages_go_before_the_guide_and_the_last_page_first() -> None:
    guide = StyleGuide(voice="v" * 500)
    chat = prompted_chat(ASKED, guide, examples(3, 160), TOKENIZER)
    assert chat[0].content == guide.voice
    assert [turn.content[:5] for turn in chat if turn.role == "assistant"] == ["page0", "page1"]


def test_a_brief_that_fills_the_limit_alone_is_still_asked() -> None:
    asked = (Message(role="user", content=brief_text(Brief(title="t" * 4000, format="blog"))),)
    chat = prompted_chat(asked, StyleGuide(voice="Be warm."), examples(3, 3), TOKENIZER)
    assert chat == asked


def test_a_chats_own_system_turn_follows_the_guide() -> None:
    asked = (Message(role="system", content="You sell tea."), *ASKED)
    chat = prompted_chat(asked, StyleGuide(voice="Be warm."), [], TOKENIZER)
    assert chat == (Message(role="system", content="Be warm.\n\nYou sell tea."), *ASKED)
