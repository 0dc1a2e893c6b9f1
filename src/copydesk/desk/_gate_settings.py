"""`[gates]` and `[canary]` of `copydesk.toml`: what a version must meet, and how one is tried."""

from pydantic import BaseModel, ConfigDict, Field

from copydesk.store import json_digest


class GateSettings(BaseModel):
    """Thresholds of the gates, and how much is measured. Losses are nats a token.

    What each default rests on is in ARCHITECTURE.md, measured by benchmarks/gates_on_brands.py.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    heldout_gain: float = Field(default=0.0, ge=-10, le=10)
    """Least lower end of the 95% interval of how far the held-out loss fell from the base's."""
    live_loss: float = Field(default=0.02, ge=-10, le=10)
    """Most by which the held-out loss may lie above the promoted version's."""
    reproduced: float = Field(default=0.02, ge=0, le=10)
    """Most by which the held-out losses may differ from those that training wrote down."""
    train_gap: float = Field(default=1.5, ge=0, le=20)
    """Most by which the loss on training pages may have fallen further than on held-out ones."""
    forgetting: float = Field(default=0.1, ge=0, le=20)
    """Most that the loss on general texts may rise."""
    instructions_lost: float = Field(default=0.3, ge=0, le=1)
    """Most of the instruction tasks that the version may fail more than the base."""
    diagonal: float = Field(default=0.02, ge=-10, le=10)
    """Least by which other clients' versions must be worse on the client's held-out pages; above 0,
    since a copy of another's adapter is exactly as good as it."""
    own_gain: float = Field(default=0.02, ge=-10, le=10)
    """Least by which the gain on the client's pages must exceed that on any other client's."""
    memorised: float = Field(default=0.25, ge=0, le=1)
    """Most of the training pages given back word by word, above the share of held-out pages."""
    voice_gain: float = Field(default=0.1, ge=-1, le=1)
    """Least by which drafts must sound more like the client than the base's."""
    live_voice: float = Field(default=0.2, ge=0, le=1)
    """Most by which drafts may sound less like the client than the promoted version's."""
    findings: float = Field(default=1.0, ge=0)
    """Most findings that are errors which a draft may have beyond the base's, in the mean."""
    merge_difference: float = Field(default=1e-4, ge=0, le=1)
    """Most that merging may move the logits, as a share of their norm, in float32."""
    served_difference: float = Field(default=1e-3, ge=0, le=10)
    """Most by which a log-probability of the engine may differ from PEFT's, in float32."""
    max_lora_rank: int = Field(default=64, ge=1, le=1024)
    """Highest rank that the engines take."""

    pages: int = Field(default=100, ge=1, le=10_000)
    """Most held-out pages that are scored, and most training pages beside them."""
    other_pages: int = Field(default=12, ge=1, le=10_000)
    """Most held-out pages of each other client that are scored."""
    asked_pages: int = Field(default=12, ge=1, le=1000)
    """Most training pages, and most held-out ones, whose continuation is asked for."""
    briefs: int = Field(default=8, ge=1, le=200)
    """Most drafts that are written by each model."""
    lessons: int = Field(default=16, ge=1, le=200)
    """Most drafts of the base, about training pages, that the voice is learned against."""
    draft_words: int = Field(default=130, ge=100, le=2000)
    """Length of those drafts; a voice is judged from 100 words on."""
    rivals: int = Field(default=8, ge=0, le=1000)
    """Most other clients that a version is compared with: those that sound most alike."""

    @property
    def digest(self) -> str:
        """Identity of the settings: an evaluation holds for those that it was made by."""
        return json_digest(self.model_dump())


class CanarySettings(BaseModel):
    """How a canary ends; see `registry.CanaryRules`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(default=200, ge=1, le=10_000_000)
    """Of the candidate's, after which it speaks for all."""
    ratio: float = Field(default=1.5, ge=1, le=100)
    """How many times as often as the live version it may go wrong."""
    alpha: float = Field(default=0.01, gt=0, lt=1)
    """Probability of stopping one that goes wrong no more often than that."""
    checked_answers: float = Field(default=1.0, ge=0, le=1)
    """Share of the server's answers to chats that are checked while a canary runs. Drafts always
    are."""
