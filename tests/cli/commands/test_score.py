"""``export-questions`` and ``score``: answers of any model, judged as those of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from amif_lightning.cli import main
from amif_lightning.data.schema import baselines
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.run import Scores, read_record
from data_modules import VQARAD
from tests.fakes import write_vqa_rad

Rule = Callable[[Sequence[VQAExample], Sequence[VQAExample]], list[str]]
RULES: dict[str, Rule] = {
    "majority": lambda train, rows: [baselines.majority_answer(train)] * len(rows),
    "question_only": baselines.question_only,
    "same_image_copy": baselines.same_image_copy,
}
FACTS = yaml.safe_load((Path(__file__).parents[2] / "facts.yaml").read_text())["VQARAD"]["osf"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def data(folder: Path) -> list[str]:
    """Options of a small VQA-RAD."""
    write_vqa_rad(folder / "rad", layouts=["osf"])
    return ["--data=VQARAD", f"--data.root={folder / 'rad'}"]


def export(data: Sequence[str], images: str = "own") -> list[dict[str, Any]]:
    path = Path(f"{images}-questions.jsonl")
    words = ["export-questions", *data, f"--images={images}", f"--output={path}"]
    assert main([*words, "--split=test"]) == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer(asked: list[dict[str, Any]], answers: Sequence[str], name: str, **more: Any) -> str:
    """Write a file of answers; ``asked`` are the exported questions."""
    lines = [ask | {"answer": text} | more for ask, text in zip(asked, answers, strict=True)]
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return name


def record_of(name: str) -> ResultRecord:
    return read_record(Path("runs") / name / "clean/seed0/result-test.json", ResultRecord)


def scores_of_rules(data: Sequence[str], root: Path) -> dict[str, Scores]:
    """Score the answers of each rule; they must equal the record's baseline of this name."""
    parts = VQARAD(str(root), layout="osf").splits
    asked, found = export(data), {}
    assert [one["question_id"] for one in asked] == [row.question_id for row in parts.test]
    for name, rule in RULES.items():
        file = answer(asked, rule(parts.released_train, parts.test), f"{name}.jsonl")
        assert main(["score", file, *data]) == 0
        record = record_of(name)
        found[name] = record.scores
        assert record.scores == getattr(record.baselines, name)
        assert record.ceiling is not None
        assert record.method == "file"
    return found


def test_plain_rules_reach_the_baselines_of_the_audit(
    data: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores_of_rules(data, folder / "rad")
    printed = capsys.readouterr().out
    assert main(["audit", *data, "--json", "--check_images=false"]) == 0
    split = json.loads(capsys.readouterr().out)["splits"]["test"]
    for name, scores in found.items():
        count = scores["overall"]
        assert split[name]["overall"] == {"correct": count.correct, "count": count.count}
        assert (
            f"test run 1: {count.correct}/{count.count} correct; records in runs/{name}" in printed
        )
    assert main(["report", "runs"]) == 0
    assert main(["score", "majority.jsonl", *data]) == 0
    assert record_of("majority").test_runs == 2


@pytest.mark.real_data
def test_real_rules_reach_the_counted_baselines(
    real_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = real_data / "vqa_rad"
    found = scores_of_rules(["--data=VQARAD", f"--data.root={root}", "--data.layout=osf"], root)
    printed = capsys.readouterr().out
    for name in ("question_only", "same_image_copy"):
        counted = {subset: tuple(pair) for subset, pair in FACTS["test"][name].items()}
        own = {s: (found[name][s].correct, found[name][s].count) for s in counted}
        assert own == counted
    right = found["majority"]["overall"].correct
    assert main(["report", "runs", "--details"]) == 0
    assert "seed 0: 47/81, p = 0.003" in capsys.readouterr().out  # McNemar
    assert f"majority answer 'no' 29.5 ({right} of 451)" in printed
    assert right == sum(row.references[0] == "no" for row in VQARAD(str(root)).splits.test)


def test_controls_of_another_model(data: list[str], folder: Path) -> None:
    rows = VQARAD(str(folder / "rad")).splits.test
    files = []
    for images, answers in {
        "own": [row.answer for row in rows],
        "shuffled": ["yes"] * len(rows),
        "blank": ["no"] * len(rows),
    }.items():
        asked = export(data, images)
        own = [str(folder / "rad" / row.image) for row in rows]
        shown = [one["image"] for one in asked]
        if images == "own":
            assert shown == own
        elif images == "shuffled":
            assert set(shown) == set(own)
            assert not any(a == b for a, b in zip(shown, own, strict=True))
        else:
            assert {np.asarray(Image.open(path)).max() for path in shown} == {0}
        files.append(answer(asked, answers, f"{images}.jsonl", log_likelihood=-0.1))
    words = ["--experiment=vlm", f"--shuffled={files[1]}", f"--blank={files[2]}"]
    assert main(["score", files[0], *data, *words, "--html=page.html"]) == 0
    record = record_of("vlm")
    assert record.scores["overall"].correct == len(rows)
    assert record.control is not None
    assert record.control["overall"].correct == sum("yes" in row.references for row in rows)
    assert record.blank is not None
    assert record.blank["overall"].correct == sum("no" in row.references for row in rows)
    assert record.overlap is not None
    assert record.overlap["overall"].token_f1 == 1
    assert record.calibration_error is not None
    assert record.calibration_error["overall"] == pytest.approx(1 - np.exp(-0.1))
    html = Path("page.html").read_text()
    assert "blank images %" in html
    assert "data:image/jpeg" in html  # sample images
    assert "ceiling of" in html


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--blank=own.jsonl"], "own.jsonl answers questions with own images (line 1)"),
        (["--experiment=trained"], "is the folder of a trained run: give another --experiment"),
        (["--html=page.txt"], "--html page.txt is no page: end its name in .html"),
        (["--split=validation"], "test_split 'validation' needs a released validation set"),
        (["--data.protocl=clean"], "data VQARAD has no option `protocl`"),
        (["--data=PhantomStudies"], "no data class `PhantomStudies`"),
        (["--shufled=x"], "no option `--shufled`"),
    ],
    ids=str,
)
def test_errors_are_sentences(
    words: list[str],
    sentence: str,
    data: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = VQARAD(str(folder / "rad")).splits.test
    asked = [{"question_id": row.question_id, "images": "own"} for row in rows]
    answer(asked, ["yes"] * len(asked), "own.jsonl")
    trained = Path("runs/trained/clean/seed0")
    trained.mkdir(parents=True)
    (trained / "best.ckpt").touch()
    capsys.readouterr()
    assert main(["score", "own.jsonl", *data, *words]) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert sentence in printed
    assert printed.startswith("error: ")
    assert not list(Path("runs").rglob("result-*"))
