"""Other metrics of answers: the table, and the reliability diagram's bins."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from amif_lightning.evaluation import Count
from amif_lightning.metrics.answer_scores import calibration_error
from amif_lightning.reports.page.page import page
from amif_lightning.reports.records.answering import Overlap, overlap_averages
from amif_lightning.reports.render.answer_metrics import metrics_table, reliability
from amif_lightning.reports.render.tables import BLANK, answer_table, report
from tests.reports.conftest import (
    answers_in,
    cells,
    changed,
    record_for,
    synthetic_predictions,
    write_run_of,
)


def scored(folder: Path, seed: int = 0, *, probabilities: bool = True) -> list[tuple[float, bool]]:
    """Write a run with overlaps, a blank-image control and random probabilities."""
    drawn = random.Random(seed)
    lines = [
        changed(
            line,
            overlap=Overlap(token_f1=0.5, token_recall=0.25, bleu_1=0.125, rouge_l=drawn.random()),
            log_likelihood=math.log(drawn.random()) if probabilities else None,
            blank_prediction="no",
            blank_correct=drawn.random() < 0.5,
        )
        for line in synthetic_predictions(seed, 0.6, 0.4, 0.4, 60, 5)
    ]
    pairs = [(math.exp(x.log_likelihood or 0.0), x.correct) for x in lines]
    error = calibration_error(*zip(*pairs, strict=True))
    subsets = {name for line in lines for name in line.strata}
    record = record_for(
        lines,
        seed,
        overlap=overlap_averages(lines),
        calibration_error=dict.fromkeys(subsets, error) if probabilities else None,
        blank={
            name: Count(sum(x.blank_correct is True for x in own), len(own))
            for name in subsets
            if (own := [x for x in lines if name in x.strata])
        },
    )
    write_run_of(folder, record, lines)
    return pairs


def test_open_answers_have_overlaps_and_every_subset_a_calibration_error(tmp_path: Path) -> None:
    for seed in (0, 1):
        scored(tmp_path, seed)
    (group,) = answers_in(tmp_path)
    rows = {row["questions"]: row for row in cells(metrics_table([group]).parts[1])}
    assert len(rows) == 5
    for name, row in rows.items():
        overlap = ("50.0 ± 0.0", "50.0-50.0", "25.0 ± 0.0", "12.5 ± 0.0")
        columns = ("token F1 %", "95 % interval", "token recall %", "BLEU-1 %")
        expected = overlap if name.startswith("open") else ("-",) * 4
        assert tuple(row[column] for column in columns) == expected
        assert "±" in row["calibration error %"]
    (overall, *_) = cells(answer_table([group]).parts[1])
    assert overall[BLANK].endswith(" of 300)")


def test_bins_give_the_calibration_error(tmp_path: Path) -> None:
    pairs = scored(tmp_path)
    (group,) = answers_in(tmp_path)
    bins = reliability(group)
    assert sum(one.answers for one in bins) == len(pairs) == 300
    gap = sum(one.answers * abs(one.probability - one.correct) for one in bins) / 300
    assert gap == pytest.approx(calibration_error(*zip(*pairs, strict=True)))
    text = page(tmp_path, [group], [])
    assert "Reliability of the answers" in text
    assert f"{bins[0].answers} answers with mean probability" in text


def test_without_probabilities_no_diagram_is_drawn(tmp_path: Path) -> None:
    scored(tmp_path, probabilities=False)
    (group,) = answers_in(tmp_path)
    assert reliability(group) == []
    assert {row["questions"][:4] for row in cells(metrics_table([group]).parts[1])} == {"open"}
    assert "Reliability of the answers" not in page(tmp_path, [group], [])
    assert "token F1" in report([group])
