"""The ``answer`` command: what may be asked, how it is printed, and what fails how."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

from amif_lightning.cli import main
from amif_lightning.cli.commands.answer import AskedFile, read_questions
from amif_lightning.errors import UserError
from amif_lightning.inference import load
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.doubts import NO_RECORD
from tests.small import saved

QUESTION = "is there a nodule?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint, which is loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "restore", cache(load.restore))
        yield saved(tmp_path_factory.mktemp("answer"))[1]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three images and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for place, name in enumerate(("a.png", "b.jpg", "c.png")):
        Image.new("L", (40, 50), 80 * place).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def ask(checkpoint: Path, *words: object) -> int:
    return main(["answer", "--ckpt_path", str(checkpoint), *map(str, words)])


def test_a_table_for_a_person(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(checkpoint, "--image", images / "a.png", "--question", QUESTION, "--top", 3) == 0
    printed = capsys.readouterr().out
    head, doubt, *rows = (x for x in printed.splitlines() if "The image is unlike" not in x)
    assert doubt == f"  warning: {NO_RECORD}"
    assert head == f"{images / 'a.png'}: {QUESTION}"
    assert [row.split()[0] for row in rows[:4]] == ["1", "2", "3", "-"]
    shares = [float(row.split()[-2]) for row in rows[:4]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert "protocol clean, trained on Phantom" in printed
    assert printed.count("not for clinical use") == 1


def test_a_question_in_french_is_warned_of_before_the_answer(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--image", images / "a.png", "--question", "Y a-t-il un nodule ?")
    assert ask(checkpoint, *words) == 0
    printed = capsys.readouterr().out
    warned = 'Words that no training question contains: "y", "t", "il", "un".'
    assert printed.index(f"\n  warning: {warned}\n") < printed.index("\n   1  ")
    assert ask(checkpoint, *words, "--json") == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert (warnings[0], warnings[-1]) == (NO_RECORD, warned)


@pytest.mark.parametrize(
    ("answers_from", "split", "label"),
    [
        ("train + validation", "validation", "literature (validation answers visible)"),
        ("", "test", "literature"),  # of a checkpoint from before it was stored
    ],
)
def test_what_the_literature_protocol_has_seen(
    checkpoint: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answers_from: str,
    split: str,
    label: str,
) -> None:
    stored = torch.load(checkpoint, weights_only=True)
    stored["answer_space"] |= {"protocol": "literature", "answers_from": answers_from}
    stored["answer_space"]["selection"]["test_split"] = split
    torch.save(stored, tmp_path / "seen.ckpt")
    words = ("--image", images / "a.png", "--question", QUESTION)
    assert ask(tmp_path / "seen.ckpt", *words) == 0
    assert f"protocol {label}, trained on Phantom" in capsys.readouterr().out


def test_names_that_are_not_text_and_damaged_images_lose_no_other_answer(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latin = images / "M\udcfcller.png"  # a byte of Latin-1
    Image.new("L", (40, 50)).save(latin)
    (images / "b.jpg").write_bytes(b"damaged")
    pairs = [
        {"image": latin.name, "question": QUESTION},
        {"image": "a" * 300, "question": QUESTION},
        {"image": "b.jpg", "question": QUESTION},
        {"image": str(images / "c.png"), "question": "which side?", "id": 7},
    ]
    (images / "asked.jsonl").write_text("\n\n".join(json.dumps(pair) for pair in pairs))
    assert ask(checkpoint, "--questions", images / "asked.jsonl", "--json") == 1
    printed = capsys.readouterr()
    first, second, third, last = map(json.loads, printed.out.splitlines())
    assert first["image"] == str(latin)  # not a byte of it is lost
    assert "does not exist" in second["error"]
    assert "audit" not in second["error"]  # there is no data set
    assert "b.jpg is damaged or truncated" in third["error"]
    assert "answers" not in third
    assert last["answers"]
    assert (last["id"], last["question"]) == ("7", "which side?")
    assert "2 of 4 questions could not be answered." in printed.err


def test_weights_that_are_not_finite_give_no_answer(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = torch.load(checkpoint, weights_only=True)
    for name, value in stored["state_dict"].items():
        if name.startswith("decoder.") and value.is_floating_point():
            value.fill_(float("nan"))
    torch.save(stored, tmp_path / "diverged.ckpt")
    words = ("--image", images / "a.png", "--question", QUESTION)
    assert ask(tmp_path / "diverged.ckpt", *words) == 2
    assert "holds weights that are not finite numbers, such as decoder." in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_questions_cannot_control_the_terminal(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    name = images / "\x1b[2J\u202e.png"
    (images / "a.png").rename(name)
    question = "is there \x1b]0;x\r\u202e a nodule?\nforged: 99 %"
    words = ["--json"] if as_json else []
    assert ask(checkpoint, "--image", name, "--question", question, *words) == 0
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.split("\n"))
    head = printed.split("\n")[0]
    assert "\\u001b[2J\\u202e.png" in head
    assert r"\u001b]0;x\r\u202e a nodule?\nforged: 99 %" in head
    if as_json:
        assert json.loads(head)["question"] == question


def test_json_lines_for_a_program(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--image", images, "--question", QUESTION, "--question", "which side?")
    assert ask(checkpoint, *asked, "--json", "--top", 2, "--batch_size", 4) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [(Path(line["image"]).name, line["question"]) for line in lines] == [
        (name, question) for name in ("a.png", "b.jpg", "c.png") for question in asked[3::2]
    ]
    # One after the other, whatever shares a batch.
    task = AMiFVQA.load_from_checkpoint(checkpoint, map_location="cpu")
    for line in lines:
        assert line["protocol"] == "clean"
        answers = task.answer(line["image"], line["question"], 2)
        assert [one["answer"] for one in line["answers"]] == [one.answer for one in answers]
        shares = [one["probability"] for one in line["answers"]]
        assert shares == pytest.approx([one.probability for one in answers], rel=1e-4)
    assert printed.err.count("not for clinical use") == 1
    assert "skipped 1 files that are not images" in printed.err


def test_a_single_failure_is_one_sentence(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "a.png").write_bytes(b"damaged")
    assert ask(checkpoint, "--image", images / "a.png", "--question", QUESTION) == 2
    assert capsys.readouterr().err.startswith("error: The image")


def test_the_drawing(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--image", images / "a.png", "--question", QUESTION)
    assert ask(checkpoint, *asked, "--explain", tmp_path / "new" / "out.png") == 0
    with Image.open(tmp_path / "new" / "out.png") as drawn:
        assert drawn.width > 2 * 280
        assert len(drawn.getcolors(1 << 24) or []) > 50
    assert "Drawing written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --image and --question"),
        (["--image", "a.png"], "give --image and --question"),
        (["--image", "none.png", "--question", "x"], "none.png does not exist"),
        (["--image", "a.png", "--question", " "], "--question is empty"),
        (["--image", "empty", "--question", "x"], "holds no image"),
        (["--questions", "none.jsonl"], "none.jsonl is not there"),
        (["--questions", "x.jsonl", "--image", "a.png"], "leave out --image"),
        (["--image", "a.png", "--question", "x", "--top", "0"], "--top is 0"),
        (["--image", "a.png", "--question", "x", "--batch_size", "-1"], "--batch_size is -1"),
        (["--image", ".", "--question", "x", "--explain", "o.png"], "--explain draws one"),
        (["--image", "a.png", "--question", "x", "--explain", "o.jpg"], "end its name in .png"),
        (["--image", "a.png", "--question", "x"], "The checkpoint none.ckpt does not exist"),
    ],
)
def test_wrong_options_are_one_sentence(
    images: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (images / "empty").mkdir()
    monkeypatch.chdir(images)
    assert main(["answer", "--ckpt_path", "none.ckpt", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error:") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[1]", "line 2: no JSON"),
        ('{"image": "a", "question": " "}', "line 2: question: "),
        ('{"image": 3, "question": "x"}', "line 2: image: "),
        ('{"image": "a\\u0000", "question": "x"}', "line 2: image: "),
        ('{"image": "a", "question": "x", "frame": true}', "line 2: frame: "),
        ('{"image": "a", "question": "x", "answer": "y"}', "line 2: answer: Extra inputs"),
        (None, "holds no question, so give a file with lines"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | None, message: str) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text("\n \n" if line is None else '{"image": "a", "question": "x"}\n' + line)
    with pytest.raises(UserError, match=message):
        read_questions(path)


def test_paths_start_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text('{"image": "deep/a.dcm", "question": "x", "frame": 2}\n')
    expected = AskedFile(image=str(tmp_path / "deep" / "a.dcm"), question="x", frame=2)
    assert read_questions(path) == [expected]


@pytest.mark.slow
def test_from_the_prompt_to_the_answer_takes_less_than_nine_seconds(
    checkpoint: Path, images: Path
) -> None:
    """On two cores that are not shared with other work."""
    command = [sys.executable, "-m", "amif_lightning", "answer", "--ckpt_path", str(checkpoint)]
    command += ["--image", str(images / "a.png"), "--question", QUESTION]
    start = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert time.monotonic() - start < 9
    assert "not for clinical use" in done.stdout
