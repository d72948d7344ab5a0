"""A page as a browser shows it: in a wide and in a narrow window, with everything that it complains of."""

import html
import json
import re
import shutil
import subprocess

import pytest

WIDTHS = (1400, 400)
HEARS = """<script>
window.said = [];
const original = console.error;
console.error = (...words) => { said.push("console: " + words.join(" ")); original(...words); };
addEventListener("error", (event) => said.push("error: " + (event.message || event.target.outerHTML.slice(0, 80))), true);
addEventListener("unhandledrejection", (event) => said.push("rejected: " + event.reason));
addEventListener("securitypolicyviolation", (event) => said.push("refused: " + event.violatedDirective));
</script>"""
LOOKS = """<script>
const frames = [...document.querySelectorAll("iframe")];
const look = async (frame) => {
  const inside = frame.contentWindow, page = inside.document, root = page.documentElement;
  const images = [...page.images];
  images.forEach((image) => { image.loading = "eager"; });
  const loaded = await Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth > 0, () => false)));
  return {width: inside.innerWidth, content: root.scrollWidth, images: images.length, broken: loaded.filter((good) => !good).length,
    tall: root.scrollHeight, said: inside.said};
};
addEventListener("load", async () => {
  document.getElementById("found").textContent = JSON.stringify(await Promise.all(frames.map(look)));
});
</script>"""


def chromium(tmp_path):
    """The command that starts a browser without a window; skips where there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is here")
    return [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]


def dom(page, tmp_path):
    """The document that a page has become once its scripts have run, as text."""
    command = [*chromium(tmp_path), "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<body" in done.stdout, done.stderr[-2000:]
    return done.stdout


def seen(page, tmp_path):
    """What a wide and a narrow window say of a page: its width and its content's, images, broken ones, errors."""
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{HEARS}", 1)
    frames = (
        f'<iframe srcdoc="{html.escape(text)}" style="width:{width}px;height:900px;border:0"></iframe>'
        for width in WIDTHS
    )
    both = tmp_path / "both.html"
    both.write_text(
        f"<!doctype html><meta charset=utf-8>{''.join(frames)}<pre id=found></pre>{LOOKS}", encoding="utf-8"
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', dom(both, tmp_path), re.DOTALL)
    return json.loads(html.unescape(found))


def assert_shown(page, tmp_path, images=0):
    """A page fits both windows, says nothing of errors, and shows all of its images, of which there are at least so many."""
    found = seen(page, tmp_path)
    assert [window["width"] for window in found] == list(WIDTHS)
    for window in found:
        assert window["said"] == [] and window["broken"] == 0, window
        assert window["content"] <= window["width"], f"wider than the window: {window}"
        assert window["images"] >= images and window["tall"] > 300, window
