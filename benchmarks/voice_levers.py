"""What moves how much a client's adapter sounds like the client? One setting moved at a time.

    python benchmarks/voice_levers.py [--brands 18f rust] [--briefs 40] [--only epochs-1 best-of-4]

Each row is `voice_of_adapters.py` with one setting moved from its defaults: shares of the adapter's
drafts that each measure attributes to the client, the same less the prompted base's with its 95%
interval, and what it costs in recitation: the longest run of words from the training pages. Drafts
are kept and shared among rows. In the row `best-of-4` the voice measure chose the drafts, so that
its own share there is no evidence; Delta and the compression distance chose none.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from _case import emit, versions
from voice_of_adapters import arguments, compared

LEVERS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "pages-24": ("--pages", "24"),
    "voice-weighted": ("--voice-weighted",),
    "epochs-1": ("--epochs", "1"),
    "epochs-8": ("--epochs", "8"),
    "rank-4": ("--lora-r", "4"),
    "rank-64": ("--lora-r", "64"),
    "rate-3e-4": ("--learning-rate", "3e-4"),
    "rate-3e-3": ("--learning-rate", "3e-3"),
    "temperature-0.4": ("--temperature", "0.4"),
    "temperature-1": ("--temperature", "1.0"),
    "best-of-4": ("--best-of", "4"),
}
MEASURES = ("voice", "delta", "delta_nearest", "compression")


def row(told: dict[str, Any]) -> dict[str, Any]:
    """The figures of one run that the table shows."""
    ours, rival = told["ours"], told["rival"]
    return {
        **{f"{key}_adapter": ours[key] for key in MEASURES},
        **{f"{key}_prompted": rival[key] for key in MEASURES},
        **{f"{key}_difference": told["adapter_minus_prompted"][key] for key in MEASURES},
        "longest_run": ours["longest_run"],
        "longest_run_of_all": ours["longest_run_of_all"],
        "drafts_over_25_words": ours["over_25_words"],
        "briefs": sum(told["briefs"].values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--brands", nargs="+", default=["18f", "carpentries", "bitcoin-optech"])
    parser.add_argument("--briefs", default="40")
    parser.add_argument("--rows", default="16")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="+", default=list(LEVERS), choices=list(LEVERS))
    given = parser.parse_args()
    common = ["--brands", *given.brands, "--briefs", given.briefs, "--rows", given.rows]
    if given.folder is not None:
        common += ["--folder", str(given.folder)]
    rows: dict[str, Any] = {}
    for name in given.only:
        print(name, file=sys.stderr, flush=True)
        rows[name] = row(compared(arguments([*common, *LEVERS[name]])))
    first = rows[given.only[0]]
    emit(
        {
            "benchmark": "voice-levers",
            "versions": versions("copydesk", "torch", "transformers", "peft", "scikit-learn"),
            "brands": given.brands,
            "ours": first,
            "rival": {"name": "base with style guide and three pages"},
            "ratio": round(first["voice_adapter"] / max(first["voice_prompted"], 1e-9), 3),
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()
