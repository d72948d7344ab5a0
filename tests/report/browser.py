"""A page as a browser shows it: in a wide and in a narrow window, with everything that it complains of."""

import contextlib
import shutil

import pytest
from playwright.sync_api import sync_playwright

WIDTHS = (1400, 400)
PATIENCE = 180_000  # milliseconds, of a machine where much else goes on
# Pictures further down are fetched when one scrolls there; here they are asked for, and waited for.
LOOKS = """async () => {
  const root = document.documentElement, images = [...document.images];
  images.forEach((image) => { image.loading = "eager"; });
  const loaded = await Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth > 0, () => false)));
  return {width: innerWidth, content: root.scrollWidth, tall: root.scrollHeight,
    images: images.length, broken: loaded.filter((good) => !good).length};
}"""


def chromium():
    """The browser's program; skips where there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is here")
    return program


@contextlib.contextmanager
def opened(page, width=WIDTHS[0]):
    """A page in a window so wide, as Playwright drives it, and the list of what it complains of."""
    said = []
    with sync_playwright() as playwright:
        # Sandboxed, it does not start for root.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"], timeout=PATIENCE)
        window = browser.new_page(viewport={"width": width, "height": 900})
        window.set_default_timeout(PATIENCE)
        window.on("console", lambda line: line.type == "error" and said.append(line.text))
        window.on("pageerror", lambda error: said.append(str(error)))
        window.goto(page.as_uri())
        yield window, said
        browser.close()


def seen(page, width):
    """What a window so wide says of a page: its width and its content's, images, broken ones, errors."""
    with opened(page, width) as (window, said):
        return {**window.evaluate(LOOKS), "said": said}


def assert_shown(page, images=0):
    """A page fits both windows, says nothing of errors, and shows all of its images, of which there are at least so many."""
    found = [seen(page, width) for width in WIDTHS]
    assert [window["width"] for window in found] == list(WIDTHS)
    for window in found:
        assert window["said"] == [] and window["broken"] == 0, window
        assert window["content"] <= window["width"], f"wider than the window: {window}"
        assert window["images"] >= images and window["tall"] > 300, window
