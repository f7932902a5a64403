from __future__ import annotations

from pathlib import Path
from typing import Any

from amif_lightning.reports.render.confusions import confusion_table
from tests.reports.conftest import Writer, answers_in, change_lines


def test_the_most_frequent_wrong_answers_of_each_type_over_seeds(
    write_run: Writer, tmp_path: Path
) -> None:
    answers = {"side": ["left"] * 5 + ["both"] * 2 + ["zone"] * 2 + ["a"], "presence": ["no"]}

    def change(rows: list[dict[str, Any]]) -> None:
        wrong = [row for row in rows if not row["correct"]]
        for row in rows:
            row["question_type"] = "side" if row["correct"] else "other"
        given = [(kind, answer) for kind, those in answers.items() for answer in those]
        for row, (kind, answer) in zip(wrong, given, strict=False):
            row.update(question_type=kind, references=["right", "r"], prediction=answer)
        for row in wrong[len(given) :]:
            row.update(references=["right"], prediction="")

    for seed in (0, 1):
        change_lines(write_run(seed), change)
    (group,) = answers_in(tmp_path)
    right, wrong = sum(group.right()), 2 * group.count() - sum(group.right())
    others = wrong - 2 * 11
    assert confusion_table(group).rows == (
        ("other", "right", "(nothing)", f"{others} of {others}"),
        ("presence", "right", "no", "2 of 2"),
        ("side", "right", "left", f"10 of {right + 20}"),
        ("side", "right", "both", f"4 of {right + 20}"),
        ("side", "right", "zone", f"4 of {right + 20}"),
    )


def test_without_prediction_files_nothing_is_known(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, predictions=False)
    (group,) = answers_in(tmp_path)
    assert confusion_table(group).rows == ()
