"""The measurement of plans against footprints: its numbers, its controls, and a whole run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.statistics import bootstrap_mean
from amif_lightning.tasks.pretrain import AMiFPretrain
from benchmarks.measures import footprint
from benchmarks.measures.footprint import Measured, Sample
from data_modules.phantom.module import NAMES, PhantomStudies
from data_modules.phantom.read import read_studies
from data_modules.phantom.reports import write_report
from data_modules.phantom.simulator.findings import KINDS, PROFILES
from tests import small

OPTIONS: dict[str, Any] = {
    "train_studies": 12,
    "validation_studies": 4,
    "test_studies": 14,
    "image_size": 64,
    "tokenizer": "words",
    "augmentation": "none",
    "num_workers": 0,
    "batch_size": 6,
    "eval_batch_size": 4,
}
CENTRES = np.array([0.5, 32.5]) / 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudies:
    made = PhantomStudies(str(tmp_path_factory.mktemp("footprint") / "set"), **OPTIONS)
    made.prepare_data()
    return made


@pytest.fixture(scope="module")
def task(data: PhantomStudies) -> AMiFPretrain:
    torch.manual_seed(0)
    task = AMiFPretrain(**(small.SMALL | {"image_size": 64})).eval()
    assert task.vision.patch_centres == pytest.approx(CENTRES)
    task.tokenizer = data.tokenizer.to_json()
    return task


@pytest.mark.parametrize("seed", range(4))
def test_every_report_names_its_findings_and_not_what_is_absent(seed: int) -> None:
    for number, profile in enumerate(PROFILES):
        rng = np.random.default_rng([seed, number])
        report = " ".join(write_report(rng, profile.findings)).lower()
        sentences = [sentence.replace(",", "") for sentence in report.split(".")]
        for finding in profile.findings:
            naming = [text for text in sentences if NAMES[finding.kind] & set(text.split())]
            assert len(naming) >= 2  # in the findings and in the impression
            absent = [text for text in naming if {"no", "not"} & set(text.split())]
            assert absent == [text for text in naming if "is normal" in text] == []
    assert set(NAMES) == set(KINDS)


def by_hand(plan: np.ndarray, places: list[int], mask: np.ndarray) -> tuple[float, float]:
    """Mass inside and area share, point by point: each takes its part of its patch's mass."""
    row = [sum(plan[place][patch] for place in places) for patch in range(4)]
    total = sum(row)
    size = 8 * 112  # the border between the patches, 16.5 of 64 pixels, falls between two points
    nearest = [int(np.abs(CENTRES - (at + 0.5) / size).argmin()) for at in range(size)]
    points, hits = [0] * 4, [0] * 4
    for y in range(size):
        for x in range(size):
            cell = 2 * nearest[y] + nearest[x]
            points[cell] += 1
            hits[cell] += bool(mask[y // 8, x // 8])
    inside = sum(row[p] / total * hits[p] / points[p] for p in range(4))
    return inside, sum(hits) / size**2


def test_numbers_are_those_of_a_slow_count(
    data: PhantomStudies, task: AMiFPretrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(task: Any, batch: Any) -> np.ndarray:
        # Depends on the token and the study alone, so that a slip of a row or a column shows.
        ids = batch.text.ids[:, :, None].numpy() + 31 * batch.position[:, None, None].numpy()
        plan: np.ndarray = 1.0 + np.sin(ids * np.arange(1, 5))
        return plan

    monkeypatch.setattr(footprint, "plans", made_up)
    samples = footprint.collect(task, data, images=3, seed=0)
    studies = {f"Phantom/{s.study_id}": s for s in read_studies(data.root)}
    order = [row.study_id for row in data.rows("test")]
    showing = [n for n in order if any("frontal" in views for views in studies[n].shown_on)]
    assert list(dict.fromkeys(s.study for s in samples)) == showing[:3]
    expected = [
        (name, finding.kind)
        for name in showing[:3]
        for finding, views in zip(studies[name].findings, studies[name].shown_on, strict=True)
        if "frontal" in views
    ]
    assert [(s.study, s.kind) for s in samples] == expected
    sample = samples[0]
    study = studies[sample.study]
    ids = [data.tokenizer.cls_id, *data.tokenizer.pieces(study.report), data.tokenizer.sep_id]
    plan = 1.0 + np.sin((np.array(ids)[:, None] + 31 * order.index(sample.study)) * np.arange(1, 5))
    named = {data.tokenizer.pieces(word)[0] for word in NAMES[sample.kind]}
    places = [place for place, number in enumerate(ids) if number in named]
    inside, area = by_hand(plan, places, sample.mask)
    found = footprint.compare(sample.study, sample.named, sample.mask, CENTRES)
    assert found.inside == pytest.approx(inside, abs=1e-9)
    assert found.area == pytest.approx(area, abs=1e-9)
    even, _ = by_hand(np.ones((1, 4)), [0], sample.mask)
    assert found.even == pytest.approx(even, abs=1e-9)


def a_sample(study: str, kind: str, patch: int, **more: Any) -> Sample:
    """All mass on one patch; the footprint is the image's upper left quarter."""
    mask = np.zeros((112, 112), dtype=bool)
    mask[:56, :56] = True
    named, other = np.zeros(4), np.full(4, 0.25)
    named[patch] = 1.0
    made = Sample(study, kind, mask, named, other, torch.rand(3, 16, 16))
    return replace(made, **more)


HALVES = np.array([0.25, 0.75])


def test_controls_compare_with_other_words_and_other_studies() -> None:
    elsewhere = np.zeros((112, 112), dtype=bool)
    elsewhere[56:, 56:] = True
    samples = [
        a_sample("a", "mass", 0),
        a_sample("a", "effusion", 0),
        a_sample("b", "mass", 3, mask=elsewhere, other=None),
    ]
    rows = dict(footprint.lines(samples, HALVES, seed=0))
    assert [m.inside for m in rows["words of the finding"]] == [1.0, 1.0, 1.0]
    assert [m.area for m in rows["words of the finding"]] == [0.25] * 3
    assert [m.study for m in rows["  mass"]] == ["a", "b"]
    assert [m.inside for m in rows["control: another word"]] == [0.25, 0.25]
    # Never a footprint of the own study; an effusion has no other one.
    assert [m.inside for m in rows["control: another study's footprint, any kind"]] == [0.0] * 3
    same = rows["control: another study's footprint, the same kind"]
    assert [(m.study, m.inside) for m in same] == [("a", 0.0), ("b", 0.0)]
    assert "  nodule" not in rows


def test_the_table_gives_means_and_intervals_over_images() -> None:
    found = [Measured(f"s{k // 2}", 0.02 * k, 0.1, 0.08) for k in range(24)]
    text = footprint.table([("words", found), ("few", found[:3]), ("none", [])])
    head, line, few, none = (" ".join(line.split()) for line in text.splitlines())
    assert head == "images inside area even inside/area inside - area inside - even"
    interval = bootstrap_mean([each.inside / 0.1 for each in found], [each.study for each in found])
    assert interval is not None
    ratio = f"2.30 [{interval.low:.2f}, {interval.high:.2f}]"
    assert line.startswith(f"words 12 0.2300 0.1000 0.0800 {ratio} +0.1300 [")
    assert "+0.1500 [" in line
    assert few == "few 2 0.0200 0.1000 0.0800 0.20 [-] -0.0800 [-] -0.0600 [-]"
    assert none == "none 0"


def test_a_trained_run_is_measured(
    data: PhantomStudies, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = small.SMALL | {"image_size": 64}
    trainer = small.trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(AMiFPretrain(**options), datamodule=data)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    capsys.readouterr()
    arguments = ["--ckpt_path", str(tmp_path / "run.ckpt"), "--root", str(data.root)]
    image = tmp_path / "maps.png"
    footprint.main([*arguments, "--images", "5", "--batch", "4", "--image", str(image)])
    printed = capsys.readouterr().out
    assert "findings on 5 images; 0 findings named by no token." in printed
    assert "2 x 2 patches" in printed
    assert "words of the finding" in printed
    drawn = np.asarray(Image.open(image).convert("RGB"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50
    assert (drawn == (0, 255, 255)).all(-1).any()  # outlines
    footprint.main([*arguments, "--images", "5", "--batch", "2"])
    again = capsys.readouterr().out
    assert again.splitlines()[:-1] == printed.splitlines()[:-2]  # for any batch size
    footprint.main([*arguments, "--max_text_tokens", "12"])
    assert " 0 findings named" not in capsys.readouterr().out  # the limit cuts words off


def test_what_cannot_be_measured_is_an_error(
    data: PhantomStudies, task: AMiFPretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        footprint.main(["--ckpt_path", str(tmp_path / "no.ckpt"), "--root", str(data.root)])
    bare = AMiFPretrain(**(small.SMALL | {"image_size": 64}))
    with pytest.raises(UserError, match="contains no tokenizer"):
        footprint.collect(bare, data, images=5, seed=0)
    monkeypatch.setattr(data, "region_words", lambda: dict.fromkeys(KINDS, frozenset({"zebra"})))
    with pytest.raises(UserError, match="shows a finding that its report names"):
        footprint.collect(task, data, images=5, seed=0)
