"""What one request may ask for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on every request. What is over one is refused before the engine hears of it."""

    body_bytes: int = 4 << 20
    body_seconds: float = 30.0
    """From the first byte of a request's body to its last."""
    prompt_characters: int = 200_000
    """Of all messages, or all prompts, together. The base's context window bounds tokens."""
    messages: int = 512
    choices: int = 8
    """`n`, times the number of prompts."""
    max_tokens: int = 4096
    """Of one answer, and the default of a chat's."""
    stops: int = 4
    stop_characters: int = 256
    schema_characters: int = 32_768
    schema_depth: int = 32
    seconds: float = 600.0
    """From arrival to the last token; then the work is cancelled."""
    grace_seconds: float = 5.0
    """How much later the server itself gives a request up, where the engine did not."""
    stall_seconds: float = 60.0
    """How long a reader may take nothing of what is ready for it."""
