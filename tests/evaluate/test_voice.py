"""The voice model on invented authors, and its vectors against scikit-learn's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from voices import page, pages

from copydesk.errors import Damaged, NotEnoughText
from copydesk.evaluate import VoiceModel, fit_voice, hiding, mask, prose
from copydesk.evaluate._voice import windows
from copydesk.evaluate._voice_features import Vocabulary

OTHERS = {"stiff": pages("stiff", "garden", 12), "brisk": pages("brisk", "metal", 12)}


@pytest.fixture(scope="module")
def plain() -> VoiceModel:
    """The plain author, who so far wrote of gardens only."""
    return fit_voice(pages("plain", "garden", 24), OTHERS, names=("Acme",))


def test_a_voice_is_known_on_another_topic(plain: VoiceModel) -> None:
    own = plain.judge(page("plain", "metal", 100))
    other = plain.judge(page("stiff", "metal", 101))
    assert own.probability > 0.9 and own.percentile.value > 5
    assert other.probability < 0.1 and other.percentile.value == 0
    assert own.score > other.score


def test_own_unseen_pages_are_spread_over_the_percentiles(plain: VoiceModel) -> None:
    found = [plain.judge(text).percentile for text in pages("plain", "garden", 40, first=200)]
    middle = np.mean([one.value for one in found])
    assert 25 < middle < 75, "as one more of its own pages would be"
    assert all(0 <= one.low <= one.value <= one.high <= 100 for one in found)
    assert found[0].high - found[0].low > 10, "24 pages say no more"


def test_what_speaks_for_and_against_moves_the_score(plain: VoiceModel) -> None:
    mixed = f"{page('plain', 'garden', 7, 20)} {page('stiff', 'garden', 7, 20)}"
    said = plain.judge(mixed)
    assert said.speaks_for and said.speaks_against
    assert all(feature.weight > 0 for feature in said.speaks_for)
    assert all(feature.weight < 0 for feature in said.speaks_against)
    weights = [feature.weight for feature in said.speaks_for]
    assert weights == sorted(weights, reverse=True)


def test_vectors_are_scikit_learns_tf_idf() -> None:
    texts = [mask(prose(text)) for text in (*pages("plain", "garden", 6), *OTHERS["stiff"])]
    vocabulary = Vocabulary.of(texts)
    reference = TfidfVectorizer(
        analyzer="char",
        ngram_range=(2, 5),
        lowercase=False,
        sublinear_tf=True,
        vocabulary=list(vocabulary.characters),
    )
    expected = reference.fit_transform([f" {text} " for text in texts]).toarray()
    first = len(vocabulary.characters)
    found = np.stack([vocabulary.vector(text) for text in texts])
    np.testing.assert_allclose(found[:, :first], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found[:, first:], axis=1), 1, atol=1e-5)


def test_the_score_is_linear_in_the_windows(plain: VoiceModel) -> None:
    text = prose(page("plain", "metal", 5, 90))
    parts = windows(text)
    assert len(parts) > 2 and " ".join(parts) == text
    vectors = [plain.vocabulary.vector(mask(part, hiding(plain.names))) for part in parts]
    scores = [float(plain.weights_F @ vector) + plain.bias for vector in vectors]
    assert plain.judge(text).score == pytest.approx(np.mean(scores), abs=1e-4)


def test_names_and_keywords_do_not_count(plain: VoiceModel) -> None:
    text = page("plain", "garden", 3)
    first = plain.judge(f"Acme. {text} Until further notice.", hide=["Until further notice"])
    other = plain.judge(f"ACME. {text} Zeppelin aaa bbb.", hide=["Zeppelin aaa bbb"])
    assert first.score == other.score


def test_the_same_seed_gives_the_same_model() -> None:
    own = pages("plain", "garden", 12)
    first, again = (fit_voice(own, OTHERS, seed=4) for _ in range(2))
    assert np.array_equal(first.weights_F, again.weights_F)
    assert replace(first, weights_F=again.weights_F, vocabulary=again.vocabulary) == again
    assert not np.array_equal(first.weights_F, fit_voice(own, OTHERS, seed=5).weights_F)


def test_what_is_kept_judges_as_before(plain: VoiceModel, tmp_path: Path) -> None:
    plain.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"voice.json", "voice.safetensors"}
    text = page("plain", "metal", 9)
    assert VoiceModel.load(tmp_path).judge(text) == plain.judge(text)
    words = json.loads((tmp_path / "voice.json").read_text("utf-8"))
    kept = " ".join((*words["characters"], *words["words"]))
    assert not [word for word in ("tulip", "spade", "lathe", "braze") if word in kept]


def test_damage_is_named(plain: VoiceModel, tmp_path: Path) -> None:
    plain.save(tmp_path)
    file = tmp_path / "voice.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"weights": tensors["weights"][:-1]}, file)
    with pytest.raises(Damaged, match="weights"):
        VoiceModel.load(tmp_path)
    file.unlink()
    with pytest.raises(Damaged, match="fitted again"):
        VoiceModel.load(tmp_path)
    (tmp_path / "voice.json").write_text("{")
    with pytest.raises(Damaged, match=r"voice\.json"):
        VoiceModel.load(tmp_path)


def test_too_little_text_is_refused(plain: VoiceModel) -> None:
    code = "```\n" + "the and of you we it " * 60 + "\n```\n"
    with pytest.raises(NotEnoughText, match="100"):
        plain.judge(f"You can do it.\n\n{code}")
    own = pages("plain", "garden", 12)
    with pytest.raises(NotEnoughText, match="own pages there are 9"):
        fit_voice(own[:9], OTHERS)
    with pytest.raises(NotEnoughText, match="1,500 words"):
        fit_voice([text[:200] for text in own], OTHERS)
    with pytest.raises(NotEnoughText, match="by others there are 0"):
        fit_voice(own, {})


def test_probabilities_hold_on_authors_that_are_hard_to_tell() -> None:
    """Two authors who share their style but for one of six sentences."""

    def mixed(seed: int, share: float) -> str:
        drawn = np.random.default_rng(seed)
        return " ".join(
            page("stiff" if drawn.random() < share else "plain", "garden", 1000 * seed + at, 1)
            for at in range(30)
        )

    model = fit_voice(
        [mixed(seed, 0.4) for seed in range(60)],
        {"other": [mixed(seed, 0.6) for seed in range(100, 160)]},
    )
    own = [model.judge(mixed(seed, 0.4)).probability for seed in range(200, 260)]
    other = [model.judge(mixed(seed, 0.6)).probability for seed in range(300, 360)]
    assert np.mean(own) > np.mean(other) + 0.2
    # Each side's mean is its own mean probability of being right; they must not be sure and wrong.
    assert np.mean([1 - p for p in own]) == pytest.approx(np.mean(other), abs=0.15)
    wrong = [p < 0.5 for p in own] + [p >= 0.5 for p in other]
    doubt = [min(p, 1 - p) for p in (*own, *other)]
    assert np.mean(wrong) == pytest.approx(np.mean(doubt), abs=0.1)
