"""An answer comes with the reasons to distrust it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image

from amif_lightning.answer_space import LEARNED, AnswerSpace
from amif_lightning.inference.load import restore
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.doubts import NO_RECORD, SHOWN, reasons, with_features
from amif_lightning.tasks.answering.single_question import Asked, ask
from tests.inference.conftest import Saved
from tests.small import SMALL, phantom, space_of, trainer

UNLIKE = "The image is unlike the training images"
QUESTION = "is there a nodule?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> AMiFVQA:
    """A task after 80 steps: the features of a network after one step tell little."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    task, data = AMiFVQA(**SMALL), phantom(folder / "phantom", batch_size=8)
    running = trainer(folder, max_steps=80, max_epochs=-1, limit_val_batches=0)
    running.fit(task, datamodule=data)
    running.save_checkpoint(folder / "best.ckpt")
    return restore(folder / "best.ckpt", "cpu")


def warned(task: AMiFVQA, *images: Path | Image.Image) -> list[bool]:
    """Whether each image is warned of."""
    answers = ask(task, [Asked(image, QUESTION) for image in images])
    return [any(one.startswith(UNLIKE) for one in given.warnings) for given in answers]


def test_the_words_are_those_of_the_training_questions(saved: Saved, restored: AMiFVQA) -> None:
    space = space_of(restored)
    for row in saved.data.splits.train:
        assert reasons(space, row.question.upper(), torch.tensor(space.image_mean)) == []
    assert {"nodule", "there"} <= set(space.question_words)
    assert space.question_words == tuple(sorted(space.question_words))


@pytest.mark.parametrize(
    ("question", "unseen"),
    [
        ("Is there a nodule?", ""),
        ("Is there a NODULE, or a nodul?", '"nodul"'),
        ("Y a-t-il un épanchement ?", '"y", "t", "il", "un", "épanchement"'),
        ("结节 nodule?", '"结节"'),
        (" ".join("abcdefghijkl"), '"b", "c", "d", "e", "f", "g", "h", "i" and 3 more'),
    ],
)
def test_words_never_seen_in_training_are_named(
    saved: Saved, restored: AMiFVQA, question: str, unseen: str
) -> None:
    image = saved.data.file_of(saved.data.splits.train[0])
    (answered,) = ask(restored, [Asked(image, question)])
    expected = [f"Words that no training question contains: {unseen}."] if unseen else []
    assert answered.warnings == [NO_RECORD, *expected]
    assert unseen.count('"') <= 2 * SHOWN


def test_one_training_image_in_a_hundred_is_beyond_the_limit(
    saved: Saved, restored: AMiFVQA
) -> None:
    images = sorted({saved.data.file_of(row) for row in saved.data.splits.train})
    assert 20 < len(images) <= 100
    assert sum(warned(restored, *images)) == 1


def test_images_unlike_the_training_images_are_warned_of(saved: Saved, trained: AMiFVQA) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    strange = [Image.fromarray(noise), Image.new("L", (64, 64), 255), Image.new("L", (64, 64))]
    assert warned(trained, *strange) == [True] * 3
    parts = saved.data.splits
    held_out = {saved.data.file_of(row) for row in (*parts.validation, *parts.test)}
    assert sum(warned(trained, *held_out)) <= len(held_out) // 10


@pytest.mark.real_data
def test_a_chest_film_shown_to_a_phantom_model_is_warned_of(
    trained: AMiFVQA, real_data: Path
) -> None:
    folder = real_data / "vqa_rad"
    rows = json.loads((folder / "VQA_RAD Dataset Public.json").read_text())
    names = sorted({row["image_name"] for row in rows if row["image_organ"] == "CHEST"})
    films = [folder / "VQA_RAD Image Folder" / name for name in names]
    assert len(films) > 100
    assert sum(warned(trained, *films)) >= 0.95 * len(films)


class Saver(Callback):
    """Save after each step, twice, as for the best and the last checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        for _name in ("best", "last"):
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(("frozen", "expected"), [(True, [1]), (False, [1, 2])])
def test_images_are_measured_once_for_each_encoder_in_training_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool, expected: list[int]
) -> None:
    measured: list[int] = []
    real = AMiFVQA._training_features

    def spy(task: AMiFVQA, images: list[torch.Tensor]) -> torch.Tensor:
        measured.append(task.global_step)
        return real(task, images)

    monkeypatch.setattr(AMiFVQA, "_training_features", spy)
    path = tmp_path / "last.ckpt"
    task, data = AMiFVQA(**SMALL, freeze_vision=frozen), phantom(tmp_path / "one", batch_size=8)
    running = trainer(tmp_path, max_steps=2, limit_val_batches=0, callbacks=[Saver(path)])
    running.fit(task, datamodule=data)
    assert measured == expected
    stored = AnswerSpace.from_state(torch.load(path, weights_only=True)["answer_space"])
    again = real(task, data.training_sample)
    assert stored == with_features(stored, again)  # those of the stored weights

    other, elsewhere = phantom(tmp_path / "two", phantom_seed=1), trainer(tmp_path)
    elsewhere.validate(task, datamodule=other, verbose=False)
    elsewhere.save_checkpoint(path)
    assert measured == expected
    kept = torch.load(path, weights_only=True)["answer_space"]
    assert all(tuple(kept[name]) == getattr(stored, name) for name in LEARNED[:3])


def test_weights_that_are_not_finite_store_no_features(restored: AMiFVQA) -> None:
    space = with_features(space_of(restored), torch.full((9, 4), float("nan")))
    assert (space.image_mean, space.image_scale, space.image_limit) == ((), (), 0.0)


def test_an_old_checkpoint_says_that_nothing_is_noticed(restored: AMiFVQA) -> None:
    state = space_of(restored).state()
    for name in LEARNED:
        del state[name]
    old = AnswerSpace.from_state(state)
    assert old == replace(
        space_of(restored), question_words=(), image_mean=(), image_scale=(), image_limit=0.0
    )
    (sentence,) = reasons(old, "Y a-t-il un nodule ?", torch.zeros(4))
    assert sentence.endswith("to notice unusual images and unknown words.")
