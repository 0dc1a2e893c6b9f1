"""How a vLLM is used."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """Limits on what is asked of one vLLM."""

    model: str
    """What it calls the base: its `--served-model-name`."""
    base_digest: str
    """Of the base that it runs; adapters of another are refused."""
    api_key: str = ""
    """Its `--api-key`, where it has one."""
    max_running: int = 64
    """Requests that it has at once; the rest wait here, where clients take turns."""
    max_waiting: int = 512
    """That wait here; more are refused."""
    max_adapters: int = 64
    """That are loaded in it at once; the least recently used is unloaded."""
    connect_seconds: float = 5.0
    silence_seconds: float = 300.0
    """How long it may send nothing within an answer."""
    health_seconds: float = 2.0
    """Between looks at its health."""
