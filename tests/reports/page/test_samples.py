from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from amif_lightning.reports.page.samples import EACH, LEFT_OUT, Samples, samples
from tests.reports.conftest import Writer, answers_in, change_lines


def with_root(folder: Path) -> dict[str, Any]:
    return {"data": {"class_path": "VQARAD", "init_args": {"root": str(folder)}}}


def shown(folder: Path, images: bool = True) -> Samples:
    return samples(answers_in(folder), images=images)


def for_all(path: Path, **fields: Any) -> None:
    """Set fields of all lines next to a record."""

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.update(fields)

    change_lines(path, change)


def test_all_configurations_answer_the_questions_that_the_best_one_chose(
    write_run: Writer, tmp_path: Path
) -> None:
    for seed in (3, 1):
        write_run(seed, experiment="worse", accuracy=0.4)
        write_run(seed, experiment="better", accuracy=0.7)
    found = shown(tmp_path)
    better, worse = answers_in(tmp_path)
    lines = {g.name: {p.question_id: p for p in g.lines[0]} for g in (better, worse)}
    assert (len(found.right), len(found.wrong), found.lead) == (EACH, EACH, "better")
    assert len({sample.line.image for sample in (*found.right, *found.wrong)}) == 2 * EACH
    for right, group in ((True, found.right), (False, found.wrong)):
        for sample in group:
            assert [(a.name, a.seed) for a in sample.answers] == [("better", 1), ("worse", 1)]
            assert sample.answers[0].line.correct is right
            for answer in sample.answers:
                line = lines[answer.name][sample.line.question_id]
                assert answer.line == line
                assert answer.probability == "61 %"  # exp(-0.5)
    # Drawn, not the first rows of the release.
    assert [s.line.question_id for s in found.right] != sorted(lines["better"])[:EACH]
    assert found == shown(tmp_path)
    for word in ("300 questions", "better", "seed 1", "random seed 0"):
        assert word in found.rule


def test_the_wrong_answers_of_highest_probability_are_shown(
    write_run: Writer, tmp_path: Path
) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for n, row in enumerate(rows):
            row["log_likelihood"] = -1.0 - n / 1000

    change_lines(write_run(0), change)
    found = shown(tmp_path)
    (group,) = answers_in(tmp_path)
    drawn = {sample.line.image for sample in (*found.right, *found.wrong)}
    wrong = [line for line in group.lines[0] if not line.correct and line.image not in drawn]
    first = {line.image: line for line in reversed(wrong)}  # the best of each image
    best = sorted(first.values(), key=lambda line: -(line.log_likelihood or 0.0))[:EACH]
    assert [sample.line for sample in found.sure] == best
    for_all(
        tmp_path / "runs" / "vqa-rad" / "clean" / "seed0" / "result-test.json", log_likelihood=None
    )
    assert shown(tmp_path).sure == []


def test_images_come_from_the_data_folder_of_the_record(write_run: Writer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_run(0, config=with_root(data))
    assert shown(tmp_path).remarks == [
        f"12 of 12 images are not shown: not found below {data}, the data folder in the record (a "
        "relative folder starts where `report` is called)."
    ]
    shades = {sample.line.image: 20 * n for n, sample in enumerate(shown(tmp_path).right)}
    for image, shade in shades.items():
        Image.new("L", (50, 40), shade).save(data / image, "PNG")
    (data / shown(tmp_path).wrong[0].line.image).write_text("no image")
    found = shown(tmp_path)
    assert all(s.image and s.image.startswith("data:image/jpeg") for s in found.right)
    assert len({sample.image for sample in found.right}) == EACH
    assert [sample.image for sample in found.wrong] == [None] * EACH
    assert [remark.split(" below ")[0] for remark in found.remarks] == [
        "7 of 12 images are not shown: not found",
        "1 of 12 images are not shown: not readable",
    ]


def test_the_path_of_the_line_is_preferred_to_the_identity(
    write_run: Writer, tmp_path: Path
) -> None:
    path = write_run(0, config=with_root(tmp_path))
    (tmp_path / "images").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "images" / "a.png")
    for_all(path, image_file="images/a.png")
    found = shown(tmp_path)
    assert all(sample.image for sample in (*found.right, *found.wrong))
    assert found.remarks == []


def test_images_are_left_out_on_request(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, config=with_root(tmp_path))
    for number in range(60):
        Image.new("L", (9, 9)).save(tmp_path / f"image{number}", "PNG")
    assert all(sample.image for sample in shown(tmp_path).right)
    found = shown(tmp_path, images=False)
    assert {sample.image for sample in (*found.right, *found.wrong)} == {None}
    assert found.remarks == [LEFT_OUT]
    assert found.right


def test_missing_prediction_files(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="without", predictions=False)
    remark = "without: the prediction file is missing, so its answers are not shown."
    assert shown(tmp_path) == Samples(remarks=[remark])
    write_run(0, experiment="with")
    found = shown(tmp_path)
    missing = "The records name no single data folder, so no image is shown."
    assert found.remarks == [remark, missing]
    assert [answer.name for answer in found.right[0].answers] == ["with"]


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (-0.0, "100 %"), (-9.5, "below 1 %"), (1e-9, "100 %")]
)
def test_probabilities(write_run: Writer, tmp_path: Path, value: float | None, text: str) -> None:
    for_all(write_run(0), log_likelihood=value)
    assert {s.answers[0].probability for s in shown(tmp_path).right} == {text}


def test_attention_on_the_vocabulary_is_shown_with_the_answer(
    write_run: Writer, tmp_path: Path
) -> None:
    write_run(0, experiment="reads", read=True)
    write_run(0, experiment="blind", accuracy=0.1)
    for sample in shown(tmp_path).right:
        blind, reads = sample.answers
        line = sample.line.knowledge
        assert line is not None
        (entry, weight), *_ = line.read
        assert reads.read.startswith(f"{entry} {weight:.0%}, no 0%; gate {line.gate:.2f}")
        assert blind.read == ""
