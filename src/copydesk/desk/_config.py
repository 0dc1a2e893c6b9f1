"""`copydesk.toml`: the workspace's settings."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from copydesk.desk._gate_settings import CanarySettings, GateSettings
from copydesk.errors import InvalidInput

CONFIG_FILE = "copydesk.toml"
_LARGEST = 1 << 20

STARTER = """\
# Copydesk workspace. Every key is optional; these are the defaults.

base = "smollm2-135m"     # a name from `copydesk base list`, or a folder
heldout_share = 0.2       # of a client's pages, kept back to measure on
split = "time"            # newest pages are held out; or "seed": drawn by `seed`
seed = 0
checkpoint_seconds = 60   # at most this much training is lost to a crash
# metrics = ["tensorboard"] # also send figures of training to: tensorboard, mlflow, trackio
# hourly_usd = 0.50       # what an hour of this machine costs, for the comparison's cost column

# Settings of a method, for all clients; `--set` overrides them.
# [settings.lora]
# lora_r = 16
#
# And for one client.
# [client_settings.acme.lora]
# learning_rate = 1e-3
#
# What a version must meet before `copydesk promote`, e.g. the most it may forget of general text
# in nats a token, and how a canary ends. `copydesk eval` names all gates.
# [gates]
# forgetting = 0.1
# [canary]
# requests = 200
# checked_answers = 1.0   # share of the server's answers whose findings count, while one runs
"""


class Config(BaseModel):
    """What `copydesk.toml` may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = "smollm2-135m"
    heldout_share: float = Field(default=0.2, gt=0, lt=1)
    split: Literal["time", "seed"] = "time"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    checkpoint_seconds: float = Field(default=60, ge=0)
    metrics: tuple[Literal["tensorboard", "mlflow", "trackio"], ...] = ()
    hourly_usd: float | None = Field(default=None, ge=0)
    settings: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict[str, Mapping[str, Any]])
    client_settings: Mapping[str, Mapping[str, Mapping[str, Any]]] = Field(
        default_factory=dict[str, Mapping[str, Mapping[str, Any]]]
    )
    gates: GateSettings = GateSettings()
    canary: CanarySettings = CanarySettings()


def read_config(path: Path) -> Config:
    """Read and validate `copydesk.toml`.

    Raises:
        InvalidInput: not TOML, or keys that are unknown or out of range: all of them are named.
    """
    try:
        raw = path.read_bytes()
        if len(raw) > _LARGEST:
            raise InvalidInput("The file is over 1 MiB", where=str(path))
        return Config.model_validate(tomllib.loads(raw.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{CONFIG_FILE} is not TOML: {error}", where=str(path)) from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, issue['loc']))}: "
            + ("unknown key" if issue["type"] == "extra_forbidden" else issue["msg"])
            for issue in error.errors()
        ]
        known = ", ".join(Config.model_fields)
        for section, kind in {"gates": GateSettings, "canary": CanarySettings}.items():
            if any(issue["loc"][0] == section for issue in error.errors()):
                known += f"; in [{section}]: {', '.join(kind.model_fields)}"
        raise InvalidInput(
            f"{CONFIG_FILE} cannot be used: {'; '.join(problems)}",
            where=str(path),
            todo=f"Known keys: {known}.",
        ) from error
