"""The page in a real browser: a phone's and a desktop's width, light and dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.page.page import page
from tests.reports.conftest import Writer

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
PHONE, DESKTOP, HEIGHT = 390, 1280, 900
SCHEMES = {"dark": 0, "light": 1}  # Chromium's values of preferredColorScheme

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]


def run(folder: Path, *options: str) -> str:
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, f"--window-size={PHONE + DESKTOP},{HEIGHT}", *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def frame(text: str, width: int) -> str:
    """The page in a frame of this width: a window is at least 500 pixels wide."""
    size = f"width:{width}px;height:{HEIGHT}px"
    return f'<iframe style="{size};border:0;float:left" srcdoc="{html.escape(text)}"></iframe>'


def wrapper(path: Path, *frames: str, script: str = "") -> str:
    head = '<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    body = f'<body style="margin:0;width:6000px">{"".join(frames)}<script>{script}</script>'
    path.write_text(head + body, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def text(write_run: Writer, write_search: Writer, tmp_path: Path) -> str:
    for name, accuracy in (("a-baseline-with-a-very-long-name", 0.5), ("a_long_" * 9, 0.7)):
        write_run(0, experiment=name, accuracy=accuracy, protocol="literature")
        write_search(0, experiment=name)
    baselines = ["a-baseline-with-a-very-long-name"]
    return page(tmp_path, *collect(tmp_path), baselines, published=True)


def test_nothing_scrolls_sideways_and_no_script_runs(text: str, tmp_path: Path) -> None:
    wide = text.replace("</main>", '<div style="width:2000px">x</div></main>')
    opened = text.replace("<details>", "<details open>")
    scripted = text.replace("</main>", "<script>document.title = 'ran'</script></main>")
    lax = scripted.replace('http-equiv="Content-Security-Policy"', 'name="none"')
    pages = [(opened, PHONE), (opened, DESKTOP), (wide, PHONE), (scripted, PHONE), (lax, PHONE)]
    script = """
      onload = () => {
        const found = [...document.querySelectorAll("iframe")].map(f => {
          const d = f.contentDocument, table = d.querySelector(".scroll");
          return [d.documentElement.scrollWidth, table.scrollWidth > table.clientWidth, d.title];
        });
        document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
      };"""
    address = wrapper(tmp_path / "w.html", *(frame(*one) for one in pages), script=script)
    dumped = run(tmp_path, "--virtual-time-budget=5000", "--dump-dom", address)
    (found,) = re.findall("FOUND(.*)END", html.unescape(dumped.split("<body")[1]))
    phone, desktop, control, refused, allowed = json.loads(found)
    assert phone[:2] == [PHONE, True]  # the table scrolls in its box, the page does not
    assert desktop[0] == DESKTOP
    assert control[0] >= 2000  # the measure can fail
    assert (refused[2], allowed[2]) == (phone[2], "ran")  # the page's policy refuses scripts


def test_light_and_dark_are_drawn(text: str, tmp_path: Path) -> None:
    address = wrapper(tmp_path / "w.html", frame(text, PHONE), frame(text, DESKTOP))
    shots = {}
    for scheme, value in SCHEMES.items():
        file = tmp_path / f"{scheme}.png"
        settings = f"--blink-settings=preferredColorScheme={value}"
        run(tmp_path, settings, f"--screenshot={file}", address)
        shots[scheme] = Image.open(file).convert("L")
    for left, right in ((0, PHONE), (PHONE, PHONE + DESKTOP)):
        light, dark = (shots[s].crop((left, 0, right, HEIGHT)) for s in ("light", "dark"))
        assert ImageStat.Stat(light).mean[0] > 200  # paper
        assert ImageStat.Stat(dark).mean[0] < 70
        assert ImageStat.Stat(light).stddev[0] > 20  # with something on it
        assert ImageStat.Stat(dark).stddev[0] > 20
        assert ImageStat.Stat(ImageChops.difference(light, dark)).mean[0] > 100
