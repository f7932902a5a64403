"""``demo``: its options, its port, and a whole run in a process of its own, in a browser."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amif_lightning.cli import main
from tests import small

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)


def test_a_port_in_use_is_named_before_anything_slow(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["demo", "--ckpt_path", "absent.ckpt", "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    assert main(["demo", "--ckpt_path", "absent.ckpt", "--port", "70000"]) == 2
    assert "give another --port" in capsys.readouterr().err


def test_one_source_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 2
    assert "--ckpt_path, or a shared model as --model" in capsys.readouterr().err


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    data, checkpoint = small.saved(tmp_path, max_question_tokens=10)
    image = data.file_of(data.splits.test[0])
    (tmp_path / "examples.jsonl").write_text(
        f'{{"image": "{image}", "question": "is there a nodule?"}}\n', encoding="utf-8"
    )
    command = [sys.executable, "-m", "amif_lightning", "demo", "--ckpt_path", str(checkpoint)]
    command += ["--questions", str(tmp_path / "examples.jsonl"), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert "not for clinical use" in line
        yield line.split()[0]
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_a_user_asks_in_a_browser(address: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.click("#ask")
        expect(page.locator("#state")).to_contain_text("There is no image")
        page.click("[data-place='0']")
        expect(page.locator("#answers li")).to_have_count(5)
        page.fill("#question", "where is the zebra?")
        page.press("#question", "Enter")
        expect(page.locator("#warnings")).to_contain_text("zebra")
        page.click("#explain")
        expect(page.locator("#figure")).to_be_visible(timeout=60_000)
        assert page.evaluate("document.getElementById('figure').naturalWidth") > 500
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        broken = tmp_path / "broken.png"
        broken.write_bytes(b"no image")
        page.set_input_files("#file", broken)
        page.click("#ask")
        expect(page.locator("#state")).to_contain_text("broken.png is damaged")
        assert faults == []
        browser.close()
