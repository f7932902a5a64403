"""The page in a real browser: phone and desktop, light and dark."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amif_lightning.reports.command import main

BROWSER = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome: install one of them"),
]

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Asks the page for its own width, which a page under the report's policy cannot tell.
FRAME = """<!doctype html><iframe id="page" src="{page}" width="{width}" height="800"></iframe>
<script>page.onload = () => {{
  const inside = page.contentDocument.documentElement;
  document.title = inside.scrollWidth + " of " + inside.clientWidth;
}}</script>"""


def browse(folder: Path, address: str, *words: str) -> str:
    assert BROWSER is not None
    options = [*OPTIONS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"]
    done = subprocess.run(
        [BROWSER, *options, *words, address], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def page(write_run: Callable[..., Path], write_search: Callable[..., Path], tmp_path: Path) -> Path:
    for seed in (0, 1):
        for name in ("base", "a-configuration-with-a-name-that-is-rather-long"):
            write_run(seed, experiment=name)
            write_search(seed, experiment=name)
    path = tmp_path / "page.html"
    main([str(tmp_path), "--html", str(path), "--baseline", "base", "--published"])
    return path


@pytest.mark.parametrize("width", [390, 1280])
def test_it_never_scrolls_sideways(page: Path, tmp_path: Path, width: int) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=page.name, width=width))
    found = browse(
        tmp_path,
        frame.as_uri(),
        "--allow-file-access-from-files",  # the frame reads the page beside it
        f"--window-size={width + 40},900",
        "--dump-dom",
    )
    title = found.split("<title>")[1].split("</title>")[0]
    wide, seen = map(int, title.split(" of "))
    assert seen in (width, width - 15)  # with a scroll bar down the side
    assert wide <= seen


def test_it_follows_light_and_dark(page: Path, tmp_path: Path) -> None:
    pictures = {}
    for name, scheme in (("dark", 0), ("light", 1)):
        file = tmp_path / f"{name}.png"
        browse(
            tmp_path,
            page.as_uri(),
            f"--blink-settings=preferredColorScheme={scheme}",
            "--window-size=390,844",
            f"--screenshot={file}",
        )
        with Image.open(file) as shot:
            pictures[name] = np.asarray(shot.convert("L")).astype(int)
    for picture in pictures.values():
        assert picture.shape == (844, 390)
        assert picture.max() - picture.min() > 150  # there is something to read
    assert pictures["light"][2, 2] == 255
    assert pictures["dark"][2, 2] < 40
