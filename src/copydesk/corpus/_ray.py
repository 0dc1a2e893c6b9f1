"""A corpus cleaned on Ray: the same functions of the same parts, on as many machines as it has."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from copydesk.corpus._pipeline import Mapper
from copydesk.corpus._shards import Part
from copydesk.errors import InvalidInput


def in_ray() -> Mapper:
    """Parts as rows of a Ray dataset, on the cluster that Ray is connected to, or a local one.

    The corpus and the folder for work must be on storage that all its machines see.

    Raises:
        InvalidInput: Ray is not installed.
    """
    try:
        data: Any = import_module("ray.data")
    except ImportError as error:
        raise InvalidInput(
            "Ray is not installed", todo="Install it with: pip install 'copydesk[ray]'"
        ) from error

    def run(work: Callable[[Part], int], parts: Sequence[Part]) -> Iterator[int]:
        def one(row: dict[str, Any]) -> dict[str, Any]:
            return {"done": work(parts[row["part"]])}

        rows = [{"part": number} for number in range(len(parts))]
        dataset: Any = data.from_items(rows, override_num_blocks=max(1, len(rows)))
        for row in dataset.map(one).iter_rows():
            yield int(row["done"])

    return run
