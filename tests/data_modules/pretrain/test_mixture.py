"""Studies of several corpora in one run: studies, leaks, ids and teachers."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.data.leakage.held_out import CONTENT
from amif_lightning.errors import UserError
from data_modules.pretrain.captions_from_qa import CaptionsFromQA
from data_modules.pretrain.mixture import Mixture
from tests.data.tiny_parts import named_studies, named_tiny
from tests.data.tiny_studies import TinyStudies

OPTIONS: dict[str, Any] = {
    "tokenizer": "words",
    "num_workers": 0,
    "image_size": 16,
    "batch_size": 4,
    "eval_batch_size": 2,
    "augmentation": "mild",
}


@pytest.fixture
def parts(tmp_path: Path) -> list[TinyStudies]:
    return [named_studies(tmp_path, "First"), named_studies(tmp_path, "Second")]


def mixture(parts: list[TinyStudies], **options: Any) -> Mixture:
    kept = {"hashes": str(parts[0].root.parent / "hashes")} if parts else {}
    return Mixture(list(parts), **(OPTIONS | kept | options))


def trained(data: Mixture) -> Counter[str]:
    return Counter(row.study_id.partition("/")[0] for row in data.splits.train)


def test_studies_of_all_parts_keep_their_splits(parts: list[TinyStudies]) -> None:
    data = mixture(parts)
    assert trained(data) == {"First": 10, "Second": 10}
    assert (len(data.rows("validation")), len(data.rows("test"))) == (10, 6)
    assert not data.splits.held_out_from_train
    assert data.selection()["Second.layout"] == "made"


def test_every_study_is_shown_once_an_epoch(parts: list[TinyStudies]) -> None:
    data = mixture(parts)
    data.setup("fit")
    batches = list(data.train_dataloader())
    shown = [study for batch in batches for study in batch.study_ids]
    assert sorted(shown) == sorted(row.study_id for row in data.splits.train)
    scored = [study for batch in data.val_dataloader() for study in batch.study_ids]
    assert scored == [row.study_id for row in data.rows("validation")]


def test_weights_decide_how_often_a_part_is_shown(parts: list[TinyStudies]) -> None:
    data = mixture(parts, weights=[0.4, 2.0])
    data.setup("fit")
    shown = Counter(s.split("/")[0] for b in data.train_dataloader() for s in b.study_ids)
    assert shown == {"First": 4, "Second": 20}
    with pytest.raises(UserError, match="has 2 training studies, fewer than one batch of 4"):
        mixture(parts, weights=[0.1, 0.1]).setup("fit")
    data = mixture(parts, weights=[2.0, 2.0], batch_size=24)
    data.setup("fit")
    assert len(list(data.train_dataloader())) == 1


def test_training_studies_that_are_scored_elsewhere_go(
    tmp_path: Path, parts: list[TinyStudies]
) -> None:
    first, second = parts
    copied, taken = first.made.splits["train"][5], second.made.splits["validation"][1]
    shutil.copy(taken.images[0].file, copied.images[1].file)
    held_out = named_tiny(tmp_path, "Questions", seed=2)
    shutil.copy(
        held_out.file_of(held_out.made.splits["test"][0]),
        second.made.splits["train"][7].images[0].file,
    )
    data = mixture(parts)
    assert trained(data) == {"First": 9, "Second": 10}
    data = mixture(parts, held_out=[held_out])
    assert trained(data) == {"First": 9, "Second": 9}
    assert Counter(row.reason for row in data.splits.dropped) == {CONTENT: 2}
    # A single part is a corpus without the images of a set that is scored.
    assert trained(mixture(parts[1:], held_out=[held_out])) == {"Second": 9}


def test_what_a_mixture_cannot_be_made_of(tmp_path: Path, parts: list[TinyStudies]) -> None:
    with pytest.raises(UserError, match=r"has the teacher embeddings"):
        mixture([parts[0], named_studies(tmp_path, "Third", teacher="embeddings")])
    with pytest.raises(UserError, match=r"Two parts of the mixture are First"):
        _ = mixture([parts[0], parts[0]]).release
    with pytest.raises(UserError, match=r"parts is empty"):
        mixture([])


def test_images_that_captions_source_tests_are_not_trained_on(
    tmp_path: Path, parts: list[TinyStudies]
) -> None:
    """Captions have no test split, but the data set of their questions has one."""
    asked = named_tiny(tmp_path, "Asked", seed=3)
    other = parts[1].made.splits["train"][6]
    shutil.copy(asked.file_of(asked.made.splits["test"][0]), other.images[0].file)
    kept = str(tmp_path / "hashes")
    captions = CaptionsFromQA(asked, hashes=kept, **OPTIONS)
    data = Mixture([captions, parts[1]], hashes=kept, **OPTIONS)
    assert other.study_id not in {row.study_id for row in data.splits.train}
    assert trained(data)["Second"] == 9


def test_patients_are_numbered_anew_in_every_corpus(parts: list[TinyStudies]) -> None:
    for part in parts:
        rows = tuple(replace(row, group="p1") for row in part.made.splits["test"])
        part.made = replace(part.made, splits={**part.made.splits, "test": rows})
    assert {row.group for row in mixture(parts).rows("test")} == {"First/p1", "Second/p1"}
