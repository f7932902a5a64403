"""The baseline of pooled features learns from them, and its features are means of the patches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amif_lightning.models.timm_tower import TimmTower
from amif_lightning.models.vision import build_vision
from benchmarks.measures.pooled_classifier import features_of, run
from tests.small import phantom


def test_answers_follow_the_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = phantom(tmp_path / "phantom")
    data.prepare_data()
    data.setup("test")
    parts = data.splits
    rows = [*parts.train, *parts.validation, *parts.test]
    pairs = sorted({(row.question, answer) for row in rows for answer in row.references})
    told = {row.image_key: torch.zeros(len(pairs)) for row in rows}
    for row in rows:  # the features say the answer to every question about the image
        for answer in row.references:
            told[row.image_key][pairs.index((row.question, answer))] = 1
    blank = {key: torch.zeros(1) for key in told}
    assert run(data, 0, told, score=True) > run(data, 0, blank, score=True) + 10
    assert f"{data.test_split} " in capsys.readouterr().out
    best = run(data, 0, told, score=False)  # of the hold-out
    assert f"hold-out {best:.1f}" in capsys.readouterr().out.splitlines()[-1]


def test_features_are_means_of_the_patches(tmp_path: Path) -> None:
    data = phantom(tmp_path / "phantom", image_size=64)
    data.prepare_data()
    data.setup("test")
    tower = build_vision("timm:test_efficientnet", None, 64).eval()
    assert isinstance(tower, TimmTower)
    rows = data.splits.test[:4]
    features = features_of(data, tower, "test", tmp_path / "cache", rows)
    (batch, *_) = data.test_dataloader()[0]
    with torch.no_grad():
        means = tower.encode(batch.images).mean(1)
    for key, mean in zip(dict.fromkeys(batch.image_keys), means, strict=True):
        if key in features:
            torch.testing.assert_close(features[key], mean, atol=1e-4, rtol=1e-4)
