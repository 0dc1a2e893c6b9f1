"""Invented authors: what they say it with, and what they say it of, drawn apart."""

import random

STYLES = {
    "plain": [
        "We {v} the {n} first, and then you can {v} it.",
        "If you {v} a {n}, you'll see how the {n} {v}s.",
        "You don't have to {v} it yourself!",
        "So what about the {n}? We'll {v} that too.",
        "It's just a {n}, but we think it's ours.",
    ],
    "stiff": [
        "The {n} of the {n} was {v}ed; moreover, it has been {v}ed thereby.",
        "However, such a {n} shall not {v} unless otherwise {v}ed.",
        "It is upon the {n} that one may {v}, whereas the {n} itself cannot.",
        "Nevertheless, the {n}, which had been {v}ed, remained within the {n}.",
        "Although the {n} is {v}ed, neither {n} nor {n} can therefore {v}.",
    ],
    "brisk": [
        "{n}: {v}, {v}, {v}.",
        "No {n}. Not ever.",
        "Every {n} {v}s - always.",
        "Now {v} that {n}, quite soon.",
        "What {n}? None; off with it, once more.",
    ],
}
TOPICS = {
    "garden": ("tulip bulb spade border hedge pot vine", "plant sow rake prune"),
    "metal": ("flask bolt lathe socket weld rivet", "braze file cast drill"),
}
"""Nouns, and verbs."""


def page(style: str, topic: str, seed: int, sentences: int = 40) -> str:
    """A page of a style about a topic."""
    drawn = random.Random(f"{style}{topic}{seed}")
    nouns, verbs = (words.split() for words in TOPICS[topic])
    text: list[str] = []
    for _ in range(sentences):
        sentence = drawn.choice(STYLES[style])
        while "{" in sentence:
            sentence = sentence.replace("{n}", drawn.choice(nouns), 1)
            sentence = sentence.replace("{v}", drawn.choice(verbs), 1)
        text.append(sentence)
    return " ".join(text)


def pages(style: str, topic: str, count: int, first: int = 0) -> list[str]:
    return [page(style, topic, seed) for seed in range(first, first + count)]
