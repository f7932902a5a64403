"""The page's requests: answers, maps, examples, faults in one sentence, two users at once."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from amif_lightning.inference.demo.app import Demo, application
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.single_question import Asked, ask
from tests.data.preprocessing.test_dicom import written
from tests.inference.conftest import Saved

requests = pytest.importorskip("requests")
QUESTION = "is there a nodule?"


@pytest.fixture(scope="module")
def image(saved: Saved) -> Path:
    return Path(saved.data.file_of(saved.data.splits.test[0]))


@pytest.fixture(scope="module")
def address(restored: AMiFVQA, image: Path) -> Iterator[str]:
    restored.doubts = ("Nothing is known.",)
    demo = Demo(
        restored, "a <b> model", [Asked(image, QUESTION), Asked("gone.png", "<i>?")], ["62 %."]
    )
    server = uvicorn.Server(uvicorn.Config(application(demo), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def posted(address: str, path: str, file: tuple[str, bytes] | None = None, **form: str) -> Any:
    files = {"image": file} if file else {"nothing": ("", b"")}
    return requests.post(f"{address}/{path}", data=form, files=files, timeout=60)


def test_the_page_shows_verdict_and_examples_as_text(address: str) -> None:
    text = requests.get(address, timeout=60).text
    for part in (
        "Nothing is known.",
        "62 %.",
        "not for clinical use",
        "a &lt;b&gt; model",
        "&lt;i&gt;?",
    ):
        assert part in text
    for outside in ("https://", "http://"):  # nothing is fetched from elsewhere
        assert outside not in text


def test_only_a_page_of_this_machine_says_that_images_stay(restored: AMiFVQA) -> None:
    assert "Images stay on this machine." in Demo(restored, "m").page()
    assert "Images are sent to the machine" in Demo(restored, "m", local=False).page()


def test_an_upload_is_answered_as_by_the_command(
    address: str, image: Path, restored: AMiFVQA
) -> None:
    given = posted(address, "answer", (image.name, image.read_bytes()), question=QUESTION).json()
    (expected,) = ask(restored, [Asked(image, QUESTION)])
    assert given["answers"] == [[text, pytest.approx(p)] for text, p in expected.answers]
    assert given["warnings"] == [text for text in expected.warnings if text != "Nothing is known."]
    with Image.open(io.BytesIO(base64.b64decode(given["image"]))) as seen:
        assert seen.size == (512, 512)
    example = posted(address, "answer", question=QUESTION, example="0").json()
    assert example["answers"] == given["answers"]


def test_a_frame_of_a_dicom_file_is_asked(address: str, restored: AMiFVQA, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 4000, (2, 40, 30), dtype=np.uint16)
    file = written(tmp_path / "scan.dcm", frames)
    given = posted(
        address, "answer", (file.name, file.read_bytes()), question=QUESTION, frame="1"
    ).json()
    (expected,) = ask(restored, [Asked(file, QUESTION, 1)])
    assert given["answers"] == [[text, pytest.approx(p)] for text, p in expected.answers]
    missing = posted(address, "answer", (file.name, file.read_bytes()), question=QUESTION)
    assert "scan.dcm" in missing.json()["error"]  # it has two frames


def test_maps_and_examples_are_images(address: str) -> None:
    found = posted(address, "maps", question=QUESTION, example="0")
    shown = requests.get(f"{address}/example/0", timeout=60)
    for answer in (found, shown):
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as drawn:
            drawn.load()


@pytest.mark.parametrize(
    ("form", "file", "sentence"),
    [
        ({"question": ""}, "right", "The question is empty"),
        ({"question": QUESTION}, None, "There is no image"),
        ({"question": QUESTION, "example": "7"}, None, "There is no image"),
        ({"question": QUESTION, "example": "1"}, None, "gone.png does not exist"),
        ({"question": QUESTION}, "broken", "The image a_b.png is damaged"),
        ({"question": QUESTION, "frame": "x"}, "right", "not a whole number"),
        ({"question": QUESTION, "frame": "1"}, "right", "not a DICOM file"),
    ],
)
def test_a_fault_is_one_sentence(
    address: str, image: Path, form: dict[str, str], file: str | None, sentence: str
) -> None:
    files = {"right": ("s.png", image.read_bytes()), "broken": ("../../a b.png", b"\x89PNG broken")}
    answer = posted(address, "answer", files.get(file or ""), **form)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]
    assert "/tmp" not in answer.json()["error"]


def test_other_hosts_and_missing_examples_are_refused(address: str) -> None:
    assert requests.get(address, headers={"Host": "evil.org"}, timeout=60).status_code == 400
    assert requests.get(f"{address}/example/1", timeout=60).status_code == 404
    assert requests.get(f"{address}/example/9", timeout=60).status_code == 404


def test_a_large_upload_is_refused_before_it_is_read(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amif_lightning.inference.demo.app.LARGEST", 2**20)
    answer = posted(address, "answer", ("a.png", bytes(2**21)), question=QUESTION)
    assert answer.status_code == 413
    assert "larger than 1 MiB" in answer.json()["error"]


def test_two_users_at_once_get_their_own_answers(address: str) -> None:
    questions = [QUESTION, "which view is this?"] * 3
    alone = {q: posted(address, "answer", question=q, example="0").json() for q in questions[:2]}
    found: list[Any] = [None] * len(questions)

    def one(place: int) -> None:
        found[place] = posted(address, "answer", question=questions[place], example="0").json()

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone[question] for question in questions]
