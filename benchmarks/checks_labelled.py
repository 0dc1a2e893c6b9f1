"""How often the checks are right: precision and recall of each family on labelled passages.

    python benchmarks/checks_labelled.py

The passages in `labelled/` are written for this project: right ones, wrong ones and near misses,
each with the rules that should speak. A pair of passage and rule is counted; rules that only note
(`claims/supported`, what the passages do not set up) are left out. There is no rival; in its place
stands the target, and the ratio is the worst figure of a mechanical family over it.
"""

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _case import emit, versions

from copydesk.content import (
    BUILT_IN,
    ShingleIndex,
    Standards,
    TrainingIndex,
    check,
    make_brief,
    rules_for,
)
from copydesk.records import StyleGuide

FOLDER = Path(__file__).parent / "labelled"
IGNORED = {"supported", "author", "links"}
KEY = b"labelled passages of the project"


def standards_of(case: Mapping[str, Any]) -> Standards:
    """What a family's passages are checked against."""
    guide = StyleGuide(banned=tuple(case.get("banned", ())), prefer=case.get("prefer", {}))
    rules = {
        name: {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        for name, values in case.get("rules", {}).items()
    }
    others = [
        ShingleIndex.build([case[kind]], kind=kind, key=KEY)
        for kind in ("searched", "client")
        if kind in case
    ]
    index = TrainingIndex.build([("page", case["training"])]) if "training" in case else None
    book = rules_for(Standards(guide=guide)).changed(rules)
    return Standards(guide=guide, rules=book, index=index, others=others)


def measure(path: Path) -> dict[str, Any]:
    """Counts of one family's file, and the pairs that went wrong."""
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    standards = standards_of(case)
    checks = [family for family in BUILT_IN if family.name == path.stem]
    hits, spoken, wanted, wrong = 0, 0, 0, list[str]()
    for passage in case["passage"]:
        changes = {k: passage[k] for k in ("title", "keyword", "keywords", "links") if k in passage}
        found = check(
            passage["text"],
            title=changes.get("title"),
            slug=passage.get("slug"),
            meta_description=passage.get("meta"),
            brief=make_brief(**{**case["brief"], **changes}),
            standards=standards,
            checks=checks,
        )
        said = {finding.rule for finding in found} - IGNORED
        expected = set(passage["expect"])
        hits, spoken, wanted = (
            hits + len(said & expected), spoken + len(said), wanted + len(expected)
        )  # fmt: skip
        wrong += [f"{passage['text'][:60]!r}: {rule} not found" for rule in sorted(expected - said)]
        wrong += [f"{passage['text'][:60]!r}: {rule} too much" for rule in sorted(said - expected)]
    return {
        "passages": len(case["passage"]),
        "precision": round(hits / spoken, 3),
        "recall": round(hits / wanted, 3),
        "errors": wrong,
    }


def main() -> None:
    figures = {path.stem: measure(path) for path in sorted(FOLDER.glob("*.toml"))}
    for family, row in figures.items():
        print(
            f"{family:12} {row['passages']:3} passages  precision {row['precision']:.3f}"
            f"  recall {row['recall']:.3f}",
            *row["errors"],
            sep="\n    ",
            file=sys.stderr,
        )
    mechanical = {name: row for name, row in figures.items() if name != "claims"}
    least = min(min(row["precision"], row["recall"]) for row in mechanical.values())
    emit(
        {
            "benchmark": "checks-labelled",
            "versions": versions("copydesk"),
            "ours": figures,
            "rival": {"name": "target for mechanical rules", "precision": 0.9, "recall": 0.9},
            "ratio": round(least / 0.9, 3),
        }
    )


if __name__ == "__main__":
    main()
