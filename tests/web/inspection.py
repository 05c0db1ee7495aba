"""What must hold for whatever a person may see: axe finds nothing, a keyboard reaches everything, a phone shows it."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page

from harness.probes.browser import attach, go
from harness.wait import wait_until
from tests.repo.test_documents import ROOT
from tests.support.web import RunningPage

_AXE = (ROOT / "reports" / "node_modules" / "axe-core" / "axe.min.js").read_text()
_VIOLATIONS = "axe.run().then((all) => all.violations.map((one) => [one.id, one.nodes.map((node) => node.html)]))"
_PHONE = 360
COUNTED_NEWS = """
    const Real = window.EventSource;
    window.told = 0;
    window.EventSource = class extends Real {
        constructor(url) { super(url); this.addEventListener("sources", () => { window.told++; }); }
    };
"""
"""To be run before a page's own scripts, for `settled`."""
CUT = """() => [...document.querySelectorAll('main .scroll, main th, main td')]
    .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.outerHTML.slice(0, 200))"""
"""What does not fit into the place that it has."""
_SMALL = """() => [...document.querySelectorAll('a[href], button, input, select')]
    .filter((one) => one.checkVisibility() && !one.classList.contains('skip'))
    .filter((one) => Math.min(one.getBoundingClientRect().width, one.getBoundingClientRect().height) < 24)
    .map((one) => one.outerHTML.slice(0, 200))"""
"""What a finger hardly hits: 24 pixels are wanted (WCAG 2.2, 2.5.8). The way to the content is for keyboards."""
_MARK = """() => {
    const all = [...document.querySelectorAll('a[href], button, input, select, [tabindex="0"]')];
    const reached = all.filter((one) => one.checkVisibility() && !one.disabled);
    reached.forEach((one, number) => { one.dataset.walk = `${number} ${one.tagName} ${one.textContent.trim()}`; });
    document.activeElement?.blur();
    return reached.map((one) => one.dataset.walk);
}"""
_HERE = """() => {
    const one = document.activeElement;
    return [one.dataset.walk ?? "", getComputedStyle(one).outlineStyle !== "none"];
}"""


def settled(tab: Page) -> None:
    """Wait for a stream's first news, which show the screen once more: a place on it would be lost."""
    wait_until(lambda: tab.evaluate("window.told"), "the first news have come", timeout=60)


def open_screen(context: BrowserContext, page: RunningPage, path: str) -> Page:
    """A screen for who is signed in, once nothing more comes by itself."""
    tab = context.new_page()
    go(tab, page.url + path)
    settled(tab)
    return tab


def inspect(tab: Page, name: str) -> None:
    """Look at what is open by day, at night and on a phone, and walk over all of it by Tab. It must hold still."""
    tab.evaluate(_AXE)
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        attach(tab, f"{name}, {scheme}")
        assert tab.evaluate(_VIOLATIONS) == []
    desk = tab.viewport_size
    assert desk is not None
    on_a_phone(tab, name)
    assert tab.evaluate(_VIOLATIONS) == []
    resize(tab, desk["width"], desk["height"])
    walk_over(tab)


def resize(tab: Page, width: int, height: int) -> None:
    """Give the screen another size, and wait until the page's own scripts have drawn it for that.

    A `resize` event comes with a frame, before what is to be done in that frame (HTML, "update the rendering").
    """
    tab.set_viewport_size({"width": width, "height": height})
    wait_until(
        lambda: tab.evaluate("innerWidth"), f"the page is {width} wide", timeout=60, until=lambda it: it == width
    )
    tab.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def on_a_phone(tab: Page, name: str) -> None:
    """Look at what is open on a phone: nothing is cut off or scrolls sideways, and a finger hits what can be used."""
    resize(tab, _PHONE, 740)
    attach(tab, f"{name} on a phone")
    assert tab.evaluate("document.documentElement.scrollWidth") <= _PHONE
    assert tab.evaluate(CUT) == [], "nothing is cut off at the side of a phone"
    assert tab.evaluate(_SMALL) == [], "a finger hits everything"


def walk_over(tab: Page) -> None:
    """By Tab one reaches everything that can be used, each once, in its order, and sees where one is."""
    wanted = tab.evaluate(_MARK)
    found: list[str] = []
    for _ in wanted:
        tab.keyboard.press("Tab")
        here, seen = tab.evaluate(_HERE)
        assert seen, f"nobody sees that {here} has the focus"
        found.append(here)
    assert found == wanted
