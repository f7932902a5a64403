"""Scores of single pairs against pairs that are scored one by one."""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.batch import Tokens
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.preprocessing.transforms import ImageTransform, to_square
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.evaluation import FixedNegatives, PairScores
from amif_lightning.models.words import inner_words
from amif_lightning.tasks import AMiFPretrain
from amif_lightning.tasks.pretraining import pair_scores
from amif_lightning.tasks.pretraining.pair_scores import PairEvaluation, logged_pairs
from data_modules.phantom.module import PhantomStudies
from tests.small import trainer
from tests.tasks.study_small import phantom_studies, pretraining

Scored = tuple[AMiFPretrain, PairScores, dict[str, float]]


def scored(data: PhantomStudies, **options: object) -> Scored:
    task = pretraining(**options)
    running = trainer(data.root)
    running.validate(task, datamodule=data, verbose=False)
    assert task.study_scores is not None
    assert task.study_scores.pairs is not None
    logged = {name: float(value) for name, value in running.callback_metrics.items()}
    return task.eval(), task.study_scores.pairs, logged


@pytest.fixture(scope="module")
def joint(data: PhantomStudies) -> Scored:
    return scored(data)


@pytest.fixture(scope="module")
def unmatched(data: PhantomStudies) -> Scored:
    """Stage global, without matching."""
    return scored(data, stage="global")


class Alone:
    """One image and one report of the validation set at a time."""

    def __init__(self, task: AMiFPretrain, data: PhantomStudies) -> None:
        self.task, self.data, self.rows = task, data, data.rows("validation")

    def image(self, place: int) -> Tensor:
        frontal = next(p for p in self.rows[place].images if p.view == "frontal")
        pixels = ImageTransform(32)(to_square(decode_image(frontal.file, 32), 32))
        tokens: Tensor = self.task.vision(pixels[None])
        return tokens

    def text(self, place: int) -> tuple[Tensor, Tensor]:
        ids = torch.tensor([self.data.tokenizer.encode(self.rows[place].text, 120)])
        return ids, torch.ones_like(ids).bool()

    def odds(self, text: int, image: int) -> float:
        ids, mask = self.text(text)
        fused = self.task.fusion(self.task.text(ids, mask), mask, self.image(image))
        scores = self.task.matching_head(*fused)[0]
        return float(scores[1] - scores[0])

    def tokens(self, text: int, image: int) -> tuple[Tensor, Tensor, Tensor]:
        ids, mask = self.text(text)
        words = self.task.fusion.text_projection(self.task.text.words(ids))
        patches = self.task.vision.patches(self.image(image))
        kept = inner_words(mask) & self.task._read_tokens(Tokens(ids, mask))
        return words, self.task.fusion.image_projection(patches), kept


@torch.no_grad()
def test_every_score_is_that_of_the_pair_alone(data: PhantomStudies, joint: Scored) -> None:
    task, found, logged = joint
    alone, fixed = Alone(task, data), data.fixed_negatives("validation")
    assert found.matching is not None
    assert found.reranked is not None
    count = len(alone.rows)
    own = [alone.odds(k, k) for k in range(count)]
    assert found.matching["own"].tolist() == pytest.approx(own, abs=1e-4)
    assert fixed.hard is not None
    negatives = {"random": fixed.random, "hard": fixed.hard}
    for name, places in negatives.items():
        odds = [alone.odds(other, k) for k, other in enumerate(places)]
        assert found.matching[name].tolist() == pytest.approx(odds, abs=1e-4)
        wins = [
            (p > n) + 0.5 * (p == n) for p in found.matching["own"] for n in found.matching[name]
        ]
        assert logged[f"val/matching_auc_{name}"] == pytest.approx(float(sum(wins)) / count**2)
    mean = (logged["val/matching_auc_random"] + logged["val/matching_auc_hard"]) / 2
    assert logged["val/matching_auc"] == pytest.approx(mean)
    moved = {"own": tuple(range(count)), "random": fixed.random}
    for name, places in moved.items():
        values = []
        for k, other in enumerate(places):
            words, patches, kept = alone.tokens(other, k)
            every = torch.ones(patches.shape[:2]).bool()
            values.append(float(task.transport(words, patches, kept, every)))
        assert found.transport[name].tolist() == pytest.approx(values, abs=1e-5)
    means = {name: float(found.transport[name].mean()) for name in moved}
    assert logged["val/transport_own"] == pytest.approx(means["own"], abs=1e-5)
    margin = means["random"] - means["own"]  # above 0 where own pairs are nearer
    assert logged["val/transport_margin"] == pytest.approx(margin, abs=1e-5)
    assert abs(margin) > 1e-4
    cosines = []
    for k, other in enumerate(fixed.random):
        words, patches, kept = alone.tokens(other, k)
        words = F.normalize(words[0][kept[0]], dim=1)
        cosines.append(float((words @ F.normalize(patches[0], dim=1).T).mean()))
    assert found.cosine.tolist() == pytest.approx(cosines, abs=1e-5)
    assert logged["val/transport_cosine"] == pytest.approx(sum(cosines) / count, abs=1e-5)
    # Fewer studies than a list holds: matching orders all of them.
    for k in range(count):
        order = sorted(range(count), key=lambda j: -alone.odds(j, k))[:5]
        hits = sum(alone.rows[j].finding == alone.rows[k].finding for j in order) / 5
        assert float(found.reranked[k]) == pytest.approx(hits)


@torch.no_grad()
def test_matching_orders_the_nearest_texts_of_evenly_many_images(
    data: PhantomStudies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of 4 of 8 texts, of which 2 count; 8 images for 3 queries are every third."""
    monkeypatch.setattr(pair_scores, "RERANKED", 4)
    monkeypatch.setattr(pair_scores, "JUDGED", 2)
    monkeypatch.setattr(pair_scores, "QUERIES", {"validation": 3})
    monkeypatch.setattr(pair_scores, "_CHUNK", 2)
    # Findings are rarely equal among 8 studies: halves of them are relevant to each other.
    same = [row.study_id[-1] in "02468" for row in data.rows("validation")]
    assert 0 < sum(same) < 8
    real = pair_scores.PairEvaluation.compute

    def halves(self: PairEvaluation, task: Any, features: Any, split: str) -> PairScores:
        features = copy(features)
        features.relevance = torch.tensor(same).long()[features.position]
        return real(self, task, features, split)

    monkeypatch.setattr(pair_scores.PairEvaluation, "compute", halves)
    task, found, logged = scored(data)
    alone = Alone(task, data)
    texts, images = [], []
    for k in range(8):
        ids, mask = alone.text(k)
        texts.append(task.fusion.text_projection(task.text(ids, mask)[0, 0]))
        images.append(task.fusion.image_projection(alone.image(k)[0, 0]))
    expected, moved = {}, False
    for k in (0, 3, 6):
        cosine = [float(F.cosine_similarity(images[k], text, dim=0)) for text in texts]
        nearest = sorted(range(8), key=lambda j: -cosine[j])[:4]
        order = sorted(nearest, key=lambda j: -alone.odds(j, k))[:2]
        moved |= order != nearest[:2]
        expected[k] = sum(same[j] == same[k] for j in order) / 2
    assert moved
    assert found.reranked is not None
    kept = {k: value for k, value in enumerate(found.reranked.tolist()) if not math.isnan(value)}
    assert kept == pytest.approx(expected)
    mean = sum(expected.values()) / 3
    assert logged["val/precision@2_reranked"] == pytest.approx(mean)


def test_without_matching_there_is_nothing_to_rank(unmatched: Scored) -> None:
    _, found, logged = unmatched
    assert found.matching is None
    assert found.reranked is None
    assert not [name for name in logged if "matching" in name or "reranked" in name]
    assert {"val/transport_own", "val/transport_margin", "val/transport_cosine"} <= set(logged)
    assert found.localised
    assert logged["val/localisation"] == pytest.approx(
        sum(one.inside / one.area for one in found.localised) / len(found.localised)
    )


def test_negatives_and_findings_do_not_depend_on_the_weights(
    data: PhantomStudies, unmatched: Scored
) -> None:
    _, first, _ = unmatched
    torch.manual_seed(5)
    _, second, _ = scored(data, stage="global", width=64)
    assert first.negatives == second.negatives
    found = [
        [(one.position, one.kind, one.area) for one in scores.localised]
        for scores in (first, second)
    ]
    assert found[0] == found[1]


def test_batches_do_not_matter(data: PhantomStudies, joint: Scored) -> None:
    _, first, _ = joint
    again = phantom_studies(data.root, eval_batch_size=3)
    _, second, _ = scored(again)
    assert first.matching is not None
    assert second.matching is not None
    for name, values in first.matching.items():
        torch.testing.assert_close(values, second.matching[name], atol=1e-5, rtol=0)
    torch.testing.assert_close(first.cosine, second.cosine, atol=1e-6, rtol=0)
    assert [one.kind for one in first.localised] == [one.kind for one in second.localised]
    mine, theirs = ([one.inside for one in found.localised] for found in (first, second))
    assert mine == pytest.approx(theirs, abs=1e-4)


class Bare(PhantomStudies):
    """Data without similarity and regions of findings."""

    def fixed_negatives(self, split: SplitName) -> FixedNegatives:
        return FixedNegatives((1, -1, *[0] * (len(self.rows(split)) - 2)), None)

    def regions(self, study_id: str, image_id: str) -> tuple[()]:
        return ()


def test_what_is_not_known_is_left_out(data: PhantomStudies) -> None:
    _, found, logged = scored(phantom_studies(data.root, Bare))
    assert found.matching is not None
    assert math.isnan(float(found.matching["random"][1]))
    assert bool(found.matching["hard"].isnan().all())
    assert math.isnan(float(found.cosine[1]))
    assert found.localised == ()
    assert "val/matching_auc_hard" not in logged
    assert logged["val/matching_auc"] == logged["val/matching_auc_random"]
    assert not [name for name in logged if "localisation" in name]
    assert all(math.isfinite(value) for value in logged_pairs(found).values())
