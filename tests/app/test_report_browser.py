"""The report in a real browser: nothing sticks out, nothing overlaps, everything can be read."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from comparisons import old_comparison, whole, with_problems
from pages import draft, judge, nasty_everywhere

from copydesk.app.report import render_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PAGES: dict[str, Callable[[], str]] = {
    "nasty": nasty_everywhere,
    "old": lambda: render_report(
        title="Autumn report for a long-named agency",
        comparisons=[old_comparison(), old_comparison("kestrel")],
        drafts=[draft()],
        generated="now",
    ),
    "problems": lambda: page(with_problems()),
    **{
        f"{methods} methods": lambda methods=methods: page(whole(methods))
        for methods in (0, 1, 3, 7)
    },
}

OVERLAPS = """
const found = [];
for (const svg of document.querySelectorAll('svg[role=img]')) {
  const shown = [...svg.querySelectorAll('text')]
    .map(words => [words.textContent, words.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0);
  const edge = svg.getBoundingClientRect();
  shown.forEach(([words, a], n) => {
    if (a.left < edge.left - 12 || a.right > edge.right + 12) found.push(words + ' sticks out');
    for (const [other, b] of shown.slice(n + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1
          && a.top < b.bottom - 3 && b.top < a.bottom - 3)
        found.push(words + ' / ' + other);
  });
}
return found;
"""
"""Words of drawings that cover one another, by a pixel and more, or that leave their drawing."""

FAINT = """
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const back = parts(getComputedStyle(at).backgroundColor);
    if (back.length === 3 || back[3] > 0) return back;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const ink = parts(element instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) found.push(contrast.toFixed(2) + ' ' + element.textContent.slice(0, 40));
}
return found;
"""
"""Words of less contrast than 4.5 to 1 against what is behind them (WCAG 2.2, 1.4.3)."""


def page(comparison: Any) -> str:
    return render_report(
        title="Copydesk: agency", comparisons=[comparison], drafts=[draft()], generated="now",
        judge=judge,
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ]:  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(
    browser: Any, path: Path, html: str, *, width: int, scheme: str = "light", media: str = ""
) -> None:
    path.write_text(html, encoding="utf-8")
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(path.as_uri())
    assert browser.execute_script("return innerWidth") == width


@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_its_window(browser: Any, tmp_path: Path, name: str) -> None:
    html = PAGES[name]()
    for width in (360, 768, 1280):
        show(browser, tmp_path / "report.html", html, width=width)
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        root = "document.documentElement"
        sticking, room = browser.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
        assert sticking <= room, width
        assert browser.execute_script(OVERLAPS) == [], width
        assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_stand_out_from_what_is_behind(browser: Any, tmp_path: Path, scheme: str) -> None:
    for name in ("problems", "7 methods"):
        show(browser, tmp_path / "report.html", PAGES[name](), width=1280, scheme=scheme)
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.execute_script(FAINT) == []
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(19, 20, 23)") == (scheme == "dark")


def test_paper_shows_the_whole_table(browser: Any, tmp_path: Path) -> None:
    show(browser, tmp_path / "report.html", PAGES["7 methods"](), width=700, media="print")
    widths = browser.execute_script(
        "const box = document.querySelector('.comparison .scroll');"
        "return [box.querySelector('table').scrollWidth, box.clientWidth,"
        " getComputedStyle(document.querySelector('.data')).display]"
    )
    assert widths[0] <= widths[1]
    assert widths[2] == "none"


def test_everything_is_reached_by_keyboard(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, tmp_path / "report.html", PAGES["3 methods"](), width=360)
    wanted = browser.execute_script(
        "return [...document.querySelectorAll('summary, .scroll, a[href]')]"
        ".filter(e => e.checkVisibility()).length"
    )
    body = browser.find_element("tag name", "body")
    rings: list[str] = []
    for _ in range(wanted):
        body.send_keys(Keys.TAB)
        rings.append(
            browser.execute_script(
                "const at = document.activeElement; at.dataset.reached = 'yes';"
                "return getComputedStyle(at).outlineStyle"
            )
        )
    assert set(rings) == {"solid"}
    reached = browser.execute_script("return document.querySelectorAll('[data-reached]').length")
    assert reached == wanted
    table = browser.find_element("css selector", ".scroll")
    browser.execute_script("arguments[0].focus()", table)
    table.send_keys(Keys.ARROW_RIGHT)
    moved = "return document.querySelector('.scroll').scrollLeft"
    from selenium.webdriver.support.ui import WebDriverWait

    assert WebDriverWait(browser, 10).until(lambda drive: drive.execute_script(moved) > 0)
