"""The generated phantoms as studies: reports, exact teacher, classes, the table of both stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amif_lightning.errors import UserError
from amif_lightning.tasks.checkpoints import check_selection
from data_modules.phantom.module import Phantom, PhantomStudies
from data_modules.phantom.read import read_studies
from data_modules.phantom.simulator.findings import KINDS
from tests.data_modules.phantom.conftest import SMALL


@pytest.fixture
def root(small_root: Path) -> Path:
    return small_root


def _studies(root: Path, **more: Any) -> PhantomStudies:
    return PhantomStudies(str(root), **(SMALL | {"batch_size": 8} | more))


def test_a_batch_shows_one_patient_in_two_views(root: Path) -> None:
    data = _studies(root)
    data.setup("fit")
    of_study = {f"Phantom/{study.study_id}": study for study in read_studies(root)}
    batches = [*data.train_dataloader(), *data.val_dataloader()]
    assert {len(batch) for batch in batches} == {8}
    for batch in batches:
        assert batch.first.shape == batch.second.shape == (8, 3, 32, 32)
        for i, name in enumerate(batch.study_ids):
            study = of_study[name]
            shown = {batch.first_ids[i], batch.second_ids[i]}
            assert shown == {f"Phantom/{path}" for path in study.images.values()}
            assert batch.texts[i] == study.report
    # Validation shows the frontal view first.
    assert all(name.endswith("frontal.png") for name in batches[-1].first_ids)


def test_equal_findings_are_relevant_and_others_are_not(root: Path) -> None:
    data = _studies(root, batch_size=24)
    vectors = {f"Phantom/{study.study_id}": study.vector for study in read_studies(root)}
    batch = next(iter(data.train_dataloader()))
    mine = [vectors[name] for name in batch.study_ids]
    expected = [[a == b for b in mine] for a in mine]
    assert (batch.relevance[:, None] == batch.relevance).tolist() == expected
    assert 24 < sum(map(sum, expected)) < 24 * 24


def _features(root: Path, **options: Any) -> tuple[list[str], Tensor, Tensor, Tensor]:
    batch = next(iter(_studies(root, batch_size=24, **options).train_dataloader()))
    assert batch.teacher is not None
    assert batch.teacher.scale == options.get("vector_scale", 3.0)
    return batch.study_ids, batch.teacher.first, batch.teacher.second, batch.teacher.text


def test_the_exact_teacher_gives_the_patients_findings(root: Path) -> None:
    vectors = {f"Phantom/{s.study_id}": torch.tensor(s.vector).float() for s in read_studies(root)}
    names, *views = _features(root, vector_scale=2.0)
    for features in views:
        assert features.dtype == torch.float32
        for name, row in zip(names, features, strict=True):
            expected = vectors[name] / vectors[name].norm()
            assert torch.allclose(row, expected)


def test_the_shuffled_teacher_gives_those_of_another_study_of_the_split(root: Path) -> None:
    names, exact, *_ = _features(root)
    again, *views = _features(root, teacher="shuffled_vectors")
    assert again == names
    for features in views:
        assert torch.equal(features, views[0])  # the diagonal of the labels stays the greatest
    # The same vectors, dealt out anew.
    assert sorted(map(tuple, views[0].tolist())) == sorted(map(tuple, exact.tolist()))
    assert (views[0] != exact).any(1).sum() > 12
    other_names, other, *_ = _features(root, teacher="shuffled_vectors", seed=1)
    by_name = dict(zip(other_names, other, strict=True))
    assert not torch.equal(torch.stack([by_name[name] for name in names]), views[0])


def test_no_teacher_gives_no_features_and_the_vectors_need_no_file(root: Path) -> None:
    assert next(iter(_studies(root, teacher="none").train_dataloader())).teacher is None
    assert _studies(root).embeddings_file() is None


def test_every_study_has_a_class_with_prompts(root: Path) -> None:
    data = _studies(root)
    prompts = data.class_prompts()
    assert set(prompts) == {"none", *KINDS}
    assert all(prompts.values())
    of_study = {f"Phantom/{s.study_id}": s for s in read_studies(root)}
    labels = data.class_labels("train")
    assert len(labels) == 24
    for row, names in zip(data.rows("train"), labels, strict=True):
        found: set[str] = {finding.kind for finding in of_study[row.study_id].findings}
        assert set(names) == (found or {"none"})


def test_both_stages_build_the_same_table_and_score_the_same_rows(root: Path) -> None:
    studies = _studies(root)
    asked = Phantom(str(root), **SMALL)
    assert studies.tokenizer.to_json() == asked.tokenizer.to_json()
    check_selection(studies.answer_space(), asked.answer_space(), same_protocol=False)
    other = Phantom(str(root), **SMALL, test_split="validation")
    with pytest.raises(UserError, match="trained with test_split test"):
        check_selection(studies.answer_space(), other.answer_space(), same_protocol=False)


def test_an_unknown_teacher_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="teacher is 'vector': give one of none, vectors, shuffled"):
        _studies(tmp_path / "set", teacher="vector")


def test_negatives_are_of_other_findings_and_near(phantom_root: Path) -> None:
    data = PhantomStudies(str(phantom_root))
    fixed = data.fixed_negatives("test")
    rows = data.rows("test")
    vectors = {
        f"Phantom/{s.study_id}": torch.tensor(s.vector).float() for s in read_studies(phantom_root)
    }
    vectors = {name: vector / vector.norm() for name, vector in vectors.items()}
    assert fixed.hard is not None
    for own, (random, hard) in enumerate(zip(fixed.random, fixed.hard, strict=True)):
        assert rows[own].finding != rows[random].finding
        mine = vectors[rows[own].study_id]
        near = float(mine @ vectors[rows[hard].study_id])
        others = [
            float(mine @ vectors[row.study_id]) for row in rows if row.finding != rows[own].finding
        ]
        assert near == pytest.approx(max(others), abs=1e-4)
    # For every teacher, and in every process.
    again = PhantomStudies(str(phantom_root), teacher="none")
    assert again.fixed_negatives("test") == fixed
