"""Comparisons as CSV and Markdown: exact, harmless in a spreadsheet, the words only words."""

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from comparisons import NASTY, nasty, old_comparison, whole, with_problems
from markdown_it import MarkdownIt

from copydesk.app._comparison_files import (
    check_targets,
    comparison_csv,
    comparison_markdown,
    write_files,
)
from copydesk.app.report import headline
from copydesk.errors import InvalidInput
from copydesk.records import Comparison


def read(comparison: Comparison) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(comparison_csv(comparison), newline="")))


def test_every_figure_comes_back_as_it_was() -> None:
    comparison = whole(7)
    lines = read(comparison)
    assert [line["method"] for line in lines] == [row.method for row in comparison.rows]
    for line, row in zip(lines, comparison.rows, strict=True):
        for name, text in line.items():
            value = getattr(row, name, None)
            if isinstance(value, int | float):
                assert float(text) == value
        low, high = row.relative_performance_ci or ("", "")
        assert line["relative_performance_ci_low"] == str(low)
        assert line["relative_performance_ci_high"] == str(high)
        assert line["tied_with"].split() == list(row.tied_with)
        assert line["recommended"] == ("yes" if row.method == "lora" else "no")
    assert lines[0]["train_seconds"] == ""


def test_reasons_are_kept() -> None:
    found = {line["method"]: line for line in read(with_problems())}
    assert found["qlora"]["status"] == "cut"
    assert found["dora"]["error"] == "needs 17.2 GB, the machine has 16 GB"
    assert found["prefix"]["heldout_loss"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_text_is_a_formula(start: str) -> None:
    attack = f'{start}HYPERLINK("https://evil.example","x")'
    (row,) = whole(0).rows[:1]
    bad = replace(whole(0), client=attack, rows=(replace(row, status="failed", error=attack),))
    (line,) = read(bad)
    assert line["client"] == "'" + attack
    assert line["error"] == "'" + attack
    assert line["relative_performance"] == "0.0"


def test_a_loss_below_zero_stays_a_number() -> None:
    found = {line["method"]: line for line in read(whole(7))}
    assert found["full"]["others_change"] == "-0.12"


class Cells(HTMLParser):
    """Texts of a table's cells, and all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self.inside = tag in {"td", "th"}
        if self.inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def rendered(comparison: Comparison) -> str:
    return (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(comparison_markdown(comparison))
    )


def test_the_markdown_table_is_a_table() -> None:
    html = rendered(with_problems())
    found = Cells(html)
    assert found.cells[:3] == ["Method", "Relative performance (full = 100%)", "Held-out loss"]
    # Seven rows under their heads; then the two that ran to their end, beside what was predicted.
    assert len(found.cells) == 13 * 8 + 7 * 3
    at = found.cells.index("Peak memory, predicted")
    assert found.cells[at : at + 3] == [
        f"Peak memory, {head}" for head in ("predicted", "measured", "difference")
    ]
    assert found.cells[-7:] == [
        "LoRA",
        "4.3 GB",
        "4.1 GB",
        "\u22124%",
        "2 min 18 s",
        "2 min 29 s",
        "+8%",
    ]
    assert "96% (91 to 101%)" in found.cells
    assert "DoRA (Ran out of memory: needs 17.2 GB, the machine has 16 GB)" in found.cells
    assert any(cell.startswith("LoRA (recommended; tied with") for cell in found.cells)
    assert f"<strong>{headline(with_problems())}</strong>" in html


def test_strangers_words_are_only_words_in_markdown() -> None:
    tricky = f"1. | `a` **b** [c](https://evil.example) ~~d~~ # e\n\n- f {NASTY}"
    bad = replace(nasty(), verdict=tricky, client=tricky)
    found = Cells(rendered(bad))
    assert found.tags <= {
        "h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert len({cell for cell in found.cells if NASTY in cell}) >= 2
    assert " ".join(tricky.split()) in Whole(rendered(bad)).text


class Whole(HTMLParser):
    """All text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_an_old_comparison_is_written_too(tmp_path: Path) -> None:
    target = tmp_path / "table.md"
    assert write_files(old_comparison(), csv=None, markdown=target) == [target]
    assert old_comparison().verdict in target.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    check_targets(None, tmp_path / "new.csv")
    with pytest.raises(InvalidInput, match="is a folder"):
        check_targets(tmp_path)
    with pytest.raises(InvalidInput, match="no folder"):
        check_targets(None, tmp_path / "nowhere" / "new.csv")
    assert list(tmp_path.iterdir()) == []
