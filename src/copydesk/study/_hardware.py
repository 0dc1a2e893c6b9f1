"""Hardware cards: what a device can hold and do, and what an hour of it costs.

A card is a TOML file. Rates are dense, without sparsity, as the maker's data sheet states them; how
much of them training reaches is `efficiency`. `this` is the present machine, measured once. A count
behind a name, as in `h100x8`, is so many devices beside one another.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from copydesk.errors import InvalidInput, UnknownName

THIS = "this"
LARGEST_CARD = 1 << 16
MOST_DEVICES = 4096
_COUNTED = re.compile(r"(?P<name>.+?)x(?P<count>[1-9][0-9]{0,3})")
_STRICT = ConfigDict(extra="forbid", frozen=True)


class Rates(BaseModel):
    """Floating-point operations a second of large dense matrix products."""

    model_config = _STRICT

    float32: float = Field(gt=0)
    bfloat16: float | None = Field(default=None, gt=0)
    tf32: float | None = Field(default=None, gt=0)
    """Float32 products in the rounding of NVIDIA's tensor cores. PyTorch takes them only when it
    is asked to, and the loop does not ask: stated for the reader."""


class Interconnect(BaseModel):
    """The way between devices."""

    model_config = _STRICT

    bandwidth: float = Field(gt=0)
    """Bytes a second in each direction."""


class Price(BaseModel):
    """What an hour of one device costs."""

    model_config = _STRICT

    hourly_usd: float = Field(ge=0)
    date: date
    source: str


class Hardware(BaseModel):
    """One device."""

    model_config = _STRICT

    label: str
    kind: Literal["cuda", "cpu"]
    memory_bytes: int = Field(gt=0, le=10**15)
    memory_bandwidth: float = Field(gt=0)
    """Bytes a second."""
    dense_flops: Rates
    interconnect: Interconnect | None = None
    price: Price | None = None
    efficiency: float = Field(default=0.5, gt=0, le=2)
    """Measured time of the loop's products is their time at the dense rate over this."""
    operation_seconds: float = Field(default=1e-5, ge=0, le=1)
    """Of any operation, however small: its launch, and Python's part."""
    threads: int | None = Field(default=None, ge=1, le=4096)
    """Of a CPU, where it is known: with one, an adapter's batches run one after another, and not
    two side by side."""

    def rate(self, dtype: str) -> float:
        """Floating-point operations a second in a number format, at the card's efficiency."""
        half = dtype in {"bfloat16", "float16"} and self.dense_flops.bfloat16
        return (half or self.dense_flops.float32) * self.efficiency


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """So many devices of a card."""

    name: str
    """As it was asked for: `h100x8`."""
    device: Hardware
    count: int

    @property
    def hourly_usd(self) -> float | None:
        """Of all devices together; None where the card has no price."""
        price = self.device.price
        return None if price is None else price.hourly_usd * self.count


def hardware_names(folders: Sequence[Path] = ()) -> tuple[str, ...]:
    """Cards that ship with Copydesk, and those in the folders; `this` is known beside them."""
    shipped = {file.name for file in (resources.files("copydesk.study") / "hardware").iterdir()}
    own = {path.name for folder in folders if folder.is_dir() for path in folder.glob("*.toml")}
    return tuple(sorted(Path(name).stem for name in shipped | own if name.endswith(".toml")))


def find_machine(ref: str, *, folders: Sequence[Path] = ()) -> Machine:
    """A machine by its card's name or file, with or without a count.

    Args:
        ref: `h100`, `h100x8`, or a path ending in .toml; `this` is not looked up here.
        folders: where the user's own cards lie; they come before the shipped ones.

    Raises:
        UnknownName: there is no such card; lists those there are.
        InvalidInput: the card cannot be used: all that is wrong with it is named.
    """
    path = Path(ref).expanduser()
    if path.suffix == ".toml" and path.is_file():
        return Machine(name=path.stem, device=read_card(path), count=1)
    counted = _COUNTED.fullmatch(ref)
    tried = [(ref, 1)]
    if counted:
        tried.append((counted["name"], int(counted["count"])))
    for name, count in tried:
        card = _card(name, folders)
        if card is not None and count <= MOST_DEVICES:
            return Machine(name=ref, device=card, count=count)
    names = ", ".join((THIS, *hardware_names(folders)))
    raise UnknownName(
        f"There is no hardware card {ref!r}",
        todo=f"Name one of: {names}; a count goes behind it, as in h100x8; or a .toml file.",
    )


def _card(name: str, folders: Sequence[Path]) -> Hardware | None:
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    for folder in folders:
        if (folder / f"{name}.toml").is_file():
            return read_card(folder / f"{name}.toml")
    shipped = resources.files("copydesk.study") / "hardware" / f"{name}.toml"
    return _parsed(shipped.read_bytes(), f"{name}.toml") if shipped.is_file() else None


def read_card(path: Path) -> Hardware:
    """Read and validate a card.

    Raises:
        InvalidInput: not TOML, or keys that are unknown or out of range: all of them are named.
    """
    return _parsed(path.read_bytes(), str(path))


def _parsed(raw: bytes, where: str) -> Hardware:
    if len(raw) > LARGEST_CARD:
        raise InvalidInput("The hardware card is over 64 KiB", where=where)
    try:
        stated: dict[str, Any] = tomllib.loads(raw.decode())
        return Hardware.model_validate(stated)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The hardware card is not TOML: {error}", where=where) from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, issue['loc']))}: "
            + ("unknown key" if issue["type"] == "extra_forbidden" else issue["msg"])
            for issue in error.errors()
        ]
        raise InvalidInput(
            f"The hardware card cannot be used: {'; '.join(problems)}",
            where=where,
            todo=f"Known keys: {', '.join(Hardware.model_fields)}.",
        ) from error
