"""Images of pre-training: they show the task's computations and do not disturb training."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tokenizers import Tokenizer
from torch import Tensor

from amif_lightning.batch import StudyBatch, Tokens
from amif_lightning.callbacks import alignment_images
from amif_lightning.callbacks.alignment_images import AlignmentImages, first_studies, neighbours
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.models.words import affirmed, denial_ids
from amif_lightning.tasks.pretrain import AMiFPretrain
from amif_lightning.tasks.pretraining.mining import Drawn
from data_modules.phantom.module import PhantomStudies
from tests.callbacks.boards import trainer_of, validate
from tests.tasks.study_small import phantom_studies, pretraining

ALL = {"alignment/similarity", "transport/plans", "negatives/hardest"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudies:
    root = tmp_path_factory.mktemp("studies") / "set"
    made = phantom_studies(root, image_size=64, batch_size=8, eval_batch_size=8)
    made.prepare_data()
    return made


@pytest.fixture(scope="module")
def batch(data: PhantomStudies) -> StudyBatch:
    return next(iter(data.val_dataloader()))


def task_of(data: PhantomStudies, **options: Any) -> AMiFPretrain:
    """An untrained task."""
    task = pretraining(**({"image_size": 64} | options))
    task.tokenizer = data.tokenizer.to_json()
    return task


@pytest.fixture(scope="module")
def task(data: PhantomStudies) -> AMiFPretrain:
    return task_of(data)


def figures(task: AMiFPretrain, batch: StudyBatch, **options: Any) -> dict[str, Figure]:
    return AlignmentImages(**({"side": 64} | options)).figures(task, [batch])


def caught(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """What a figure is made of from now on."""
    given: list[Any] = []
    drawn = getattr(alignment_images, name)

    def catch(*arguments: Any) -> Any:
        given.extend(arguments)
        return drawn(*arguments)

    monkeypatch.setattr(alignment_images, name, catch)
    return given


# ---- what is shown ----------------------------------------------------------------------------


def embedded(task: AMiFPretrain, batch: StudyBatch) -> tuple[Tensor, Tensor]:
    with evaluation_mode(task):
        tokens, states = task.vision(batch.first), task.text(batch.text.ids, batch.text.mask)
        return task.embed_image(tokens), task.embed_text(states)


def test_similarities_and_labels_have_one_order(
    task: AMiFPretrain, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    relevance = torch.tensor([4, 9, 4, 1, 9, 9, 1, 2])
    batch = replace(batch, relevance=relevance)
    order = [0, 2, 1, 4, 5, 3, 6, 7]
    given = caught(monkeypatch, "matrices_figure")
    figures(task, batch)
    panels, groups, _ = given
    _, (_, student, _), (labels_are, labels, ends) = panels
    (_, cosines, _), *_ = panels
    assert ends == (0.0, pytest.approx(max(student.max(), labels.max())))
    assert groups == [4, 4, 9, 9, 9, 1, 1, 2]
    assert labels_are.startswith("Teacher")
    image, text = embedded(task, batch)
    assert batch.teacher is not None
    temperature = 0.07
    for row, i in enumerate(order):
        own = [float(image[i] @ text[j]) for j in order]
        assert cosines[row] == pytest.approx(own, abs=1e-5)
        odds = np.exp((np.array(own) - max(own)) / temperature)
        assert student[row] == pytest.approx(odds / odds.sum(), abs=1e-4)
        taught = np.exp(
            [
                np.exp(batch.teacher.scale) * float(batch.teacher.first[i] @ batch.teacher.text[j])
                + 0.01 * (i == j)
                for j in order
            ]
        )
        assert labels[row] == pytest.approx(taught / taught.sum(), abs=1e-4)


def test_without_a_teacher_the_identity_is_shown(
    data: PhantomStudies, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_id = batch.text_id.clone()
    text_id[3] = text_id[0]
    given = caught(monkeypatch, "matrices_figure")
    untaught = replace(batch, teacher=None, text_id=text_id, relevance=torch.arange(8))
    figures(task_of(data, labels="hard", image_text=0.0), untaught)
    _, (labels_are, labels, _) = given[0]  # the pair is not trained, so it has no temperature
    expected = np.eye(8)
    expected[0, 3] = expected[3, 0] = 1
    assert labels.tolist() == expected.tolist()
    assert labels_are.startswith("Identity")


def test_maps_are_the_rows_of_the_plan(
    task: AMiFPretrain, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = caught(monkeypatch, "maps_figure")
    batch = replace(batch, relevance=torch.tensor([5, 5, 5, 6, 5, 5, 7, 5]))
    figures(task, batch, studies=4, words=2)
    studies, _, _ = given
    assert len(studies) == 4
    rows = [batch.texts.index(report) for _, report, _ in studies]
    assert rows == [0, 3, 6, 1]  # other findings first
    for row, (image, report, words) in zip(rows, studies, strict=True):
        assert image == pytest.approx(batch.first[row].numpy())
        with evaluation_mode(task):
            ids, mask = batch.text.ids[row][None], batch.text.mask[row][None]
            x = task.fusion.text_projection(task.text.words(ids))
            tokens = task.vision(batch.first[row][None])
            y = task.fusion.image_projection(task.vision.patches(tokens))
            assert task.tokenizer is not None
            kept = affirmed(ids, *denial_ids(Tokenizer.from_str(task.tokenizer)))
            inner = mask & kept
            inner[0, 0] = inner[0, int(mask.sum()) - 1] = False
            every = torch.ones(1, 4, dtype=torch.bool)
            plan = task.transport.plan(x, y, inner, every)[0][0]
        assert 1 <= len(words) <= 2
        for word in words:
            assert word.centres == pytest.approx([0.5 / 64, 32.5 / 64])
            assert word.title in report.lower()
            # All words of the small table are known, so a word is one token; its first one counts.
            place = next(
                i
                for i, t in enumerate(ids[0])
                if text_of(task, int(t)) == word.title and inner[0, i]
            )
            assert word.mass == pytest.approx(plan[place].numpy(), abs=1e-5)
            assert word.mass.sum() == pytest.approx(1 / float(inner.sum()), abs=1e-6)


def text_of(task: AMiFPretrain, number: int) -> str:
    assert task.tokenizer is not None
    found = Tokenizer.from_str(task.tokenizer).id_to_token(number)
    return str(found)


def test_the_hardest_of_the_drawn_texts_come_first(
    task: AMiFPretrain, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = torch.tensor([3, 2, 5, 1, 7, 0, 4, 6])
    valid = torch.ones(2, 8, dtype=torch.bool)
    valid[0, 4] = False
    seen: list[Any] = []

    def weigh(*arguments: Any) -> str:
        seen.extend(arguments)
        return "weights"

    def draw(weights: Any) -> Drawn:
        assert weights == "weights"
        return Drawn(drawn, drawn.flip(0), valid)

    monkeypatch.setattr(task, "hard_weights", weigh)
    monkeypatch.setattr(task, "draw", draw)
    given = caught(monkeypatch, "cards_figure")
    figures(task, batch, negatives=3)
    image, text = embedded(task, batch)
    cosines = {row: float(image[row] @ text[drawn[row]]) for row in range(8) if row != 4}
    hardest = sorted(cosines, key=lambda row: -cosines[row])[:3]
    cards = [card for line in given[0] for card in line]
    assert [len(line) for line in given[0]] == [4, 2]  # an image and its texts, twice in a row
    for shown, texts, row in zip(cards[::2], cards[1::2], hardest, strict=True):
        assert shown.image == pytest.approx(batch.first[row].numpy())
        assert [words for words, _, _ in texts.texts] == [
            f"own text, cosine {float(image[row] @ text[row]):.2f}",
            batch.texts[row],
            f"drawn text, cosine {cosines[row]:.2f}",
            batch.texts[drawn[row]],
        ]
    assert torch.equal(seen[1], torch.eye(8, dtype=torch.bool))
    assert batch.teacher is not None
    assert torch.equal(seen[2].text, batch.teacher.text)
    assert seen[3] == batch.teacher.scale


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        ({"stage": "global"}, ALL - {"negatives/hardest"}),
        ({"matching": 0.0}, ALL - {"negatives/hardest"}),
        ({"stage": "local", "shared_projection": False}, ALL),
    ],
)
def test_each_task_shows_what_it_has(
    data: PhantomStudies, batch: StudyBatch, options: dict[str, Any], tags: set[str]
) -> None:
    assert set(figures(task_of(data, **options), batch)) == tags


def test_odd_batches_are_drawn_as_far_as_they_go(task: AMiFPretrain, batch: StudyBatch) -> None:
    # One study has no negative, and an empty report no word.
    assert set(figures(task, first_studies(batch, 1))) == ALL - {"negatives/hardest"}
    ids, mask = batch.text.ids[:, :2].clone(), batch.text.mask[:, :2]
    ids[:, 1] = 3  # [SEP]
    empty = replace(batch, text=Tokens(ids, mask), texts=[""] * 8)
    assert set(figures(task, empty)) == ALL - {"transport/plans"}
    # Hard negatives of soft labels need a teacher.
    assert set(figures(task, replace(batch, teacher=None))) == ALL - {"negatives/hardest"}


# ---- through the hooks ------------------------------------------------------------------------


def test_drawing_leaves_the_training_as_it_was(
    data: PhantomStudies, batch: StudyBatch, tmp_path: Path
) -> None:
    task = task_of(data, stage="local", dropout=0.1).train()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    modes = [module.training for module in task.modules()]
    assert not task.vision.training  # frozen
    assert task.fusion.training
    wanted = [parameter.requires_grad for parameter in task.parameters()]
    drawn = _generators()
    validate(AlignmentImages(side=64), trainer_of(tmp_path), [batch], task)
    assert len(list(tmp_path.glob("events*"))) == 1
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert [module.training for module in task.modules()] == modes
    assert [parameter.requires_grad for parameter in task.parameters()] == wanted
    assert all(parameter.grad is None for parameter in task.parameters())
    assert torch.is_grad_enabled()
    assert _generators() == drawn


def _generators() -> list[Any]:
    """The states of all global random generators."""
    numbers: Any = np.random.get_state()  # noqa: NPY002  # the global state is what is asked for
    return [torch.get_rng_state().tolist(), numbers[1].tolist(), numbers[2:], random.getstate()]


def test_only_the_first_batch_is_shown(
    task: AMiFPretrain, batch: StudyBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = caught(monkeypatch, "matrices_figure")
    second = replace(batch, first=batch.first.flip(0))
    validate(AlignmentImages(samples=5, side=64), trainer_of(tmp_path), [{}, batch, second], task)
    (_, cosines, _), *_ = given[0]
    first = embedded(task, first_studies(batch, 5))
    order = neighbours(batch.relevance[:5].tolist())
    assert cosines == pytest.approx((first[0] @ first[1].T)[order][:, order].numpy(), abs=1e-5)
