"""What questions and studies share: options, tokenizer, loaders; the same for both kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.errors import UserError
from tests.data.tiny_release import Tiny, tiny_release
from tests.data.tiny_studies import TinyStudies, tiny_studies

Make = Callable[..., TextDataModule]


@pytest.fixture(params=["questions", "studies"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "questions":
        release = tiny_release(tmp_path)
        return lambda **options: Tiny(tmp_path, release, **options)
    made = tiny_studies(tmp_path)
    return lambda **options: TinyStudies(tmp_path, made, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
        ("validation_fraction", float("nan")),
        ("batch_size", 0),
        ("eval_batch_size", -1),
        ("num_workers", -1),
        ("image_size", 0),
        ("augmentation", "strong"),
    ],
)
def test_bad_shared_options_are_named(make: Make, name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"{name} is .*{value}.*: give"):
        make(**{name: value})


def test_the_defaults_are_the_papers_size(tmp_path: Path) -> None:
    release = tiny_release(tmp_path)

    class Plain(Tiny):
        def __init__(self) -> None:
            # Not Tiny's, which makes everything small.
            super(Tiny, self).__init__(str(tmp_path))
            self.made, self.reads = release, 0

    data = Plain()
    assert (data.image_size, data.batch_size, data.eval_batch_size) == (288, 24, 16)
    assert (data.tokenizer_name, data.augmentation) == ("emilyalsentzer/Bio_ClinicalBERT", "paper")
    assert (data.split_seed, data.validation_fraction, data.seed) == (0, 0.1, 0)

    class PlainStudies(TinyStudies):
        def __init__(self) -> None:
            super(TinyStudies, self).__init__(str(tmp_path))

    assert PlainStudies().augmentation == "paper_pretrain"


def test_both_kinds_adopt_a_checkpoints_words(make: Make) -> None:
    data = make(tokenizer_corpora=["no/such/file.txt"])
    other = Tokenizer.from_texts(["a quite different corpus"]).to_json()
    data.adopt_tokenizer(other)  # without the texts of its own table
    assert data.tokenizer.to_json() == other
    assert data.answer_space().tokenizer == other


def test_both_kinds_build_the_table_from_the_files_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("entirely other words\n")
    data: Any = make(tokenizer_corpora=[str(tmp_path / "words.txt")])
    assert len(data.tokenizer.pieces("entirely")) == 1
    assert len(make().tokenizer.pieces("entirely")) > 1


def test_the_seed_decides_the_order(make: Make) -> None:
    def order(seed: int) -> list[list[str]]:
        data: Any = make(seed=seed)
        return [
            getattr(batch, "study_ids", None) or batch.question_ids
            for batch in data.train_dataloader()
        ]

    assert order(0) == order(0)
    assert order(0) != order(1)


@pytest.mark.parametrize("cuda", [True, False])
def test_batches_are_pinned_where_a_gpu_is(
    make: Make, monkeypatch: pytest.MonkeyPatch, cuda: bool
) -> None:
    data: Any = make()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert data.train_dataloader().pin_memory is cuda
    assert data.val_dataloader().pin_memory is cuda
