"""The pre-training task: what its losses are made of, what each stage trains, what it scores."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.batch import StudyBatch
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.preprocessing.transforms import ImageTransform, to_square
from amif_lightning.errors import UserError
from amif_lightning.losses.alignment import (
    Sides,
    alignment_loss,
    hard_labels,
    same_sample,
    soft_labels,
)
from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from amif_lightning.tasks.pretraining.mining import Drawn
from data_modules.phantom.module import PhantomStudies
from tests.small import SMALL, phantom, trainer
from tests.tasks.study_small import (
    RELEASED,
    first_batch,
    fitted,
    phantom_studies,
    pretraining,
    step,
)

ALONE = {"image_text": 0.0, "view_view": 0.0, "text_text": 0.0}  # without alignment
NO_IMAGES = {"image_text": 0.0, "view_view": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudies:
    return phantom_studies(tmp_path_factory.mktemp("pretrain") / "phantom")


@pytest.fixture(scope="module")
def batch(data: PhantomStudies) -> StudyBatch:
    return first_batch(data)


def evaluated(**options: Any) -> AMiFPretrain:
    """In evaluation mode, so that batch normalisation sees samples apart."""
    return pretraining(**options).eval()


@torch.no_grad()
def vectors(task: AMiFPretrain, batch: StudyBatch) -> dict[str, Tensor]:
    """The student's vectors, one study at a time."""
    rows: dict[str, list[Tensor]] = {"first": [], "second": [], "text": []}
    for i in range(len(batch)):
        length = int(batch.text.mask[i].sum())
        states = task.text(batch.text.ids[i : i + 1, :length], batch.text.mask[i : i + 1, :length])
        projected = task.fusion.text_projection(states[:, 0])
        rows["text"].append(F.normalize(projected, dim=1))
        for name in ("first", "second"):
            tokens = task.vision(getattr(batch, name)[i : i + 1])
            projected = task.fusion.image_projection(tokens[:, 0])
            rows[name].append(F.normalize(projected, dim=1))
    return {name: torch.cat(found) for name, found in rows.items()}


# ---- losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_the_alignment_losses_are_those_of_studies_encoded_alone(
    batch: StudyBatch, labels: str
) -> None:
    weights = {"image_text": 1.0, "view_view": 0.5, "text_text": 2.0, "transport": 0.0}
    task = evaluated(stage="global", labels=labels, **weights)
    total, logged = step(task, batch)
    v, teacher = vectors(task, batch), batch.teacher
    assert teacher is not None
    same = same_sample(batch.study, batch.text_id)
    taught = {"first": teacher.first, "second": teacher.second, "text": teacher.text}
    expected = {}
    for pair, (a, b) in {
        "image_text": ("first", "text"),
        "view_view": ("first", "second"),
        "text_text": ("text", "text"),
    }.items():
        both = (
            [soft_labels(taught[x], taught[y], teacher.scale, same) for x, y in ((a, b), (b, a))]
            if labels == "soft"
            else [hard_labels(same)] * 2
        )
        expected[pair] = float(alignment_loss(v[a] @ v[b].T / 0.07, *both))
        assert logged[f"train/{pair}_loss"] == pytest.approx(expected[pair], rel=1e-4)
        assert logged[f"train/{pair}_temperature"] == pytest.approx(0.07)
    weighted = expected["image_text"] + 0.5 * expected["view_view"] + 2.0 * expected["text_text"]
    assert float(total.detach()) == logged["train/loss"] == pytest.approx(weighted, rel=1e-4)


@torch.no_grad()
def fused_alone(
    task: AMiFPretrain, batch: StudyBatch, text: int, image: int, mask_of: int | None = None
) -> tuple[Tensor, Tensor]:
    """Fused words and patches of one pair without any padding.

    Args:
        task: In evaluation mode.
        batch: Studies.
        text: Whose report.
        image: Whose view 1.
        mask_of: Whose padding mask the report is read with, as the released code does wrongly.
    """
    length = int(batch.text.mask[text].sum())
    states = task.text(batch.text.ids[[text], :length], batch.text.mask[[text], :length])
    mask = torch.ones(1, length, dtype=torch.bool)
    if mask_of is not None:
        other = int(batch.text.mask[mask_of].sum())
        longer = max(length, other)
        states = F.pad(states, (0, 0, 0, longer - length))
        mask = (torch.arange(longer) < other)[None]
    words, patches = task.fusion(states, mask, task.vision(batch.first[[image]]))
    return words, patches


def test_fused_transport_is_the_mean_over_single_pairs(batch: StudyBatch) -> None:
    task = evaluated(**(RELEASED | ALONE | {"matching": 0.0, "transport": 2.0}))
    total, logged = step(task, batch)
    values = []
    for i in range(len(batch)):
        words, patches = fused_alone(task, batch, i, i)
        words, patches = words[:, 1:-1], patches[:, 1:]  # neither [CLS], [SEP] nor CLS
        every = [torch.ones(part.shape[:2], dtype=torch.bool) for part in (words, patches)]
        values.append(float(task.transport(words, patches, *every)))
    assert logged["train/transport_loss"] == pytest.approx(sum(values) / len(values), rel=1e-4)
    assert float(total.detach()) == pytest.approx(2 * logged["train/transport_loss"])


def test_views_are_moved_onto_each_other_on_request(batch: StudyBatch) -> None:
    task = evaluated(transport=0.0, matching=0.0, view_transport=1.0, local_view="first")
    _, logged = step(task, batch)
    values = []
    with torch.no_grad():
        for i in range(len(batch)):
            length = int(batch.text.mask[i].sum())
            states = task.text(batch.text.ids[[i], :length], batch.text.mask[[i], :length])
            mask = torch.ones(1, length, dtype=torch.bool)
            first, second = (
                task.fusion(states, mask, task.vision(view[[i]]))[1][:, 1:]
                for view in (batch.first, batch.second)
            )
            every = torch.ones(first.shape[:2], dtype=torch.bool)
            values.append(float(task.transport(first, second, every, every)))
    assert logged["train/view_transport_loss"] == pytest.approx(sum(values) / len(values), rel=1e-4)


def drawn(task: AMiFPretrain, batch: StudyBatch) -> Drawn:
    """The hard negatives that the task draws for a batch."""
    v, teacher = vectors(task, batch), batch.teacher
    assert teacher is not None
    weights = task.hard_weights(
        Sides(**v),
        same_sample(batch.study, batch.text_id),
        Sides(teacher.first, teacher.second, teacher.text),
        teacher.scale,
    )
    return task.draw(weights, batch.study)


def matching_alone(task: AMiFPretrain, batch: StudyBatch, *, wrong_mask: bool = False) -> float:
    """The matching loss from pairs that are fused one by one."""
    found = drawn(task, batch)
    texts, images, valid = found.texts, found.images, found.valid
    pairs: list[tuple[int, int, int, int | None]] = [(i, i, 1, None) for i in range(len(batch))]
    pairs += [(int(texts[i]), i, 0, i) for i in range(len(batch)) if valid[0, i]]
    pairs += [(i, int(images[i]), 0, None) for i in range(len(batch)) if valid[1, i]]
    total = 0.0
    for text, image, label, mask_of in pairs:
        fused = fused_alone(task, batch, text, image, mask_of if wrong_mask else None)
        log_p = task.matching_head(*fused)[0].log_softmax(0)
        total -= float(log_p[label].detach())
    return total / len(pairs)


def test_matching_scores_each_drawn_text_with_its_own_mask(batch: StudyBatch) -> None:
    task = evaluated(**(RELEASED | {"transport": 0.0}))
    with torch.no_grad():  # larger scores, so that a wrong mask shows
        task.matching_head.score.weight.mul_(20)
    _, logged = step(task, batch)
    assert logged["train/matching_loss"] == pytest.approx(matching_alone(task, batch), rel=1e-4)
    # The released code reads a drawn text with the mask of the text that it replaces.
    wrong = matching_alone(task, batch, wrong_mask=True)
    assert logged["train/matching_loss"] != pytest.approx(wrong, rel=1e-3)
    assert logged["train/drawn_share"] == 1.0
    assert 0 <= logged["train/matching_accuracy"] <= 1


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_losses_stay_finite_in_half_precision(batch: StudyBatch, precision: torch.dtype) -> None:
    task = pretraining(view_transport=1.0)
    with torch.autocast("cpu", precision):
        total, logged = step(task, batch)
    total.backward()
    assert all(math.isfinite(value) for value in logged.values())
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_a_run_trains_and_is_judged_in_true_precisions(
    data: PhantomStudies, precision: str, tmp_path: Path
) -> None:
    """Validation too, where vectors that were kept in float32 meet those of the encoders."""
    options = {"limit_train_batches": 1, "max_epochs": 1, "num_sanity_val_steps": 0}
    running = trainer(tmp_path, precision=precision, **options)
    running.fit(pretraining(), datamodule=data)
    logged = {name: float(value) for name, value in running.callback_metrics.items()}
    assert "val/matching_auc_hard" in logged
    assert all(math.isfinite(value) for value in logged.values())


# ---- stages -----------------------------------------------------------------------------------

STAGES: list[dict[str, Any]] = [
    {"stage": "global", "labels": "hard", "view_view": 0.0, "text_text": 0.0},
    {"stage": "global", "shared_projection": False},
    {"stage": "global", "image_text": 0.0, "text_text": 0.0, "transport": 0.0},
    {"stage": "global", "transport": 0.0} | NO_IMAGES,
    {"stage": "global", "shared_projection": False, "transport": 0.0} | NO_IMAGES,
    {"stage": "joint", "image_text": 0.0, "text_text": 0.0, "shared_projection": False},
    {"stage": "joint", "negatives": "random"},
    {"stage": "local", "local_keeps_global": False},
    {"stage": "local", "local_keeps_global": False, "shared_projection": False},
    {"stage": "joint", "transport": 0.0},
    {"stage": "joint", "transport": 0.0, "image_text": 0.0},
    *({"stage": stage} | RELEASED for stage in ("global", "local", "joint")),
    {"stage": "local", "local_keeps_global": False} | RELEASED | {"matching": 0.0},
    {"stage": "global", "vision_channels": [8, 16], "vision_summary_channels": [24]},
    {"stage": "global", "image_text": 0.0},
    {"stage": "local", "transport_tokens": "fused", "matching": 0.0, "local_keeps_global": False},
    {"stage": "joint", "matching": 0.0, "shared_projection": False},
    {"stage": "joint", "transport": 0.0, "matching": 0.0, "view_transport": 1.0},
    *(
        {"stage": stage, "transport_tokens": tokens, "transport_loss": loss}
        | {"matching": matching}
        for stage, tokens, loss, matching in itertools.product(
            ("global", "local", "joint"),
            ("words", "contextual", "fused"),
            ("contrast", "matched"),
            (0.0, 1.0),
        )
    ),
    *(
        {"stage": stage, "transport_tokens": tokens, "transport_start": 0.5}
        for stage in ("global", "joint")
        for tokens in ("words", "contextual", "fused")
    ),
]


@pytest.mark.parametrize("options", STAGES, ids=str)
def test_every_trained_parameter_gets_a_gradient_and_no_other(
    batch: StudyBatch, options: dict[str, Any]
) -> None:
    """DDP waits for the gradient of each parameter that wants one, also before transport starts."""
    task = pretraining(**options)
    total, _ = step(task, batch)
    total.backward()
    given = {name for name, parameter in task.named_parameters() if parameter.grad is not None}
    wanted = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert given == wanted


def test_frozen_encoders_build_no_graph_and_keep_their_state(data: PhantomStudies) -> None:
    task = pretraining(stage="local")
    before = {k: v.clone() for k, v in task.state_dict().items()}
    seen: list[bool] = []
    for module in (task.vision, task.text):
        module.register_forward_hook(lambda m, i, out: seen.append(out.requires_grad))
    with pytest.warns(UserWarning, match="freezes the encoders"):
        fitted(data.root, task, data, max_steps=2)
    assert seen
    assert not any(seen)
    moved = {k for k, v in task.state_dict().items() if not torch.equal(v, before[k])}
    # Running means of batch normalisation too.
    assert not [name for name in moved if name.startswith(("vision.", "text."))]
    assert {name.split(".")[0] for name in moved} == {"fusion", "matching_head", "alignment"}


def test_the_second_view_is_encoded_only_where_a_loss_reads_it(batch: StudyBatch) -> None:
    counts: list[int] = []
    for weight, view in ((0.0, "first"), (0.0, "frontal"), (1.0, "first")):
        task = pretraining(view_view=weight, local_view=view)
        task.vision.register_forward_hook(lambda m, i, out: counts.append(len(out)))
        step(task, batch)
    # The frontal view may be the second one.
    assert counts == [len(batch), 2 * len(batch), 2 * len(batch)]


# ---- bad input and life cycle -----------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"stage": "global", "transport": 0.0} | ALONE,
        {"stage": "global"} | ALONE | RELEASED,
        {"stage": "local", "local_keeps_global": False, "transport": 0.0, "matching": 0.0},
    ],
)
def test_a_stage_without_a_loss_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="nothing to learn: give"):
        pretraining(**options)


def test_transport_alone_does_not_train_both_encoders() -> None:
    options = {"stage": "global"} | NO_IMAGES
    with pytest.raises(UserError, match="does not train the whole of both encoders: give image"):
        pretraining(**options)
    pretraining(**options, transport=0.0)


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ({}, True),
        ({"labels": "hard"}, False),
        (ALONE | {"negatives": "hard"}, True),
        (ALONE | {"negatives": "random"}, False),
    ],
    ids=str,
)
def test_soft_labels_and_hard_negatives_ask_for_a_teacher(
    data: PhantomStudies, options: dict[str, Any], asks: bool
) -> None:
    untaught, task = phantom_studies(data.root, teacher="none"), pretraining(**options)
    if not asks:
        fitted(data.root, task, untaught)
        return
    with pytest.raises(UserError, match="the teacher of Phantom is none: give --data"):
        fitted(data.root, task, untaught)


def test_questions_are_no_studies(data: PhantomStudies) -> None:
    with pytest.raises(UserError, match="learns from studies and Phantom gives questions"):
        trainer(data.root).validate(pretraining(), datamodule=phantom(data.root))
    with pytest.raises(UserError, match="answers questions and PhantomStudies gives studies"):
        trainer(data.root).validate(AMiFVQA(**SMALL), datamodule=data)


@pytest.mark.parametrize(("dropout", "passes"), [(0.0, 1), (0.1, 2)])
def test_a_report_is_encoded_twice_only_where_dropout_differs(
    batch: StudyBatch, dropout: float, passes: int
) -> None:
    counts: list[int] = []
    task = pretraining(stage="global", labels="hard", dropout=dropout)
    task.text.register_forward_hook(lambda m, i, out: counts.append(len(out)))
    step(task, batch)
    assert len(counts) == passes


def test_the_divergence_takes_the_tasks_own_lambda(data: PhantomStudies) -> None:
    found = []
    for weight in (0.01, 5.0):
        task = pretraining(same_weight=weight)
        trainer(data.root).validate(task, datamodule=data, verbose=False)
        assert task.study_scores is not None
        found.append(task.study_scores.teacher_kl)
    assert found[0] != found[1]


def test_temperatures_are_brought_back_after_a_step(data: PhantomStudies) -> None:
    task = pretraining(stage="global", temperature=0.01, lr=10.0, min_lr=0.0)
    fitted(data.root, task, data, max_steps=2)
    for temperature in task.temperatures().values():
        assert 0.0099 < float(temperature) < 1.0001


# ---- scores -----------------------------------------------------------------------------------


def test_validation_logs_what_a_plain_search_finds(data: PhantomStudies) -> None:
    task = pretraining()
    running = trainer(data.root)
    running.validate(task, datamodule=data, verbose=False)
    logged = {name: float(value) for name, value in running.callback_metrics.items()}
    rows, scores = data.rows("validation"), task.study_scores
    assert scores is not None
    table = data.teacher_table
    assert table is not None
    task.eval()

    @torch.no_grad()
    def embedded(text: str) -> Tensor:
        ids = torch.tensor([data.tokenizer.encode(text, data.max_text_tokens)])
        return task.embed_text(task.text(ids, torch.ones_like(ids).bool()))[0]

    images, texts = [], []
    with torch.no_grad():
        for row in rows:
            frontal = next(p for p in row.images if p.view == "frontal")
            pixels = ImageTransform(32)(to_square(decode_image(frontal.file, 32), 32))
            images.append(task.embed_image(task.vision(pixels[None]))[0])
            texts.append(embedded(row.text))
    found = []
    for i, row in enumerate(rows):
        ranked = sorted(range(len(rows)), key=lambda j: (-float(images[i] @ texts[j]), j))[:5]
        found.append(sum(rows[j].finding == row.finding for j in ranked) / 5)
    assert logged["val/image_to_text/precision@5"] == pytest.approx(sum(found) / len(found))
    assert scores.precision["image_to_text"][1].tolist() == pytest.approx(found)
    both = (logged["val/image_to_text/recall@1"] + logged["val/text_to_image/recall@1"]) / 2
    assert logged["val/recall@1"] == pytest.approx(both)
    assert logged["val/teacher_kl"] == pytest.approx(scores.teacher_kl)
    assert logged["val/teacher_kl"] > 0
    assert 0 <= logged["val/transport_own"] <= 2

    prompts = data.class_prompts()
    means = [torch.stack([embedded(text) for text in texts]).mean(0) for texts in prompts.values()]
    classes = F.normalize(torch.stack(means), dim=1)
    right = [
        list(prompts)[int((classes @ image).argmax())] in row.classes
        for image, row in zip(images, rows, strict=True)
    ]
    assert logged["val/zero_shot"] == pytest.approx(sum(right) / len(right))


def test_without_a_teacher_and_classes_only_retrieval_is_scored(data: PhantomStudies) -> None:
    class Plain(PhantomStudies):
        def class_prompts(self) -> dict[str, list[str]]:
            return {}

    plain = phantom_studies(data.root, Plain, teacher="none")
    task = pretraining(labels="hard")
    running = trainer(data.root)
    running.test(task, datamodule=plain, verbose=False)
    names = set(running.callback_metrics)
    assert "test/precision@5" in names
    assert not names & {"test/zero_shot", "test/teacher_kl"}
    assert task.study_scores is not None
    assert task.study_scores.zero_shot is None


def test_vectors_that_are_no_numbers_are_not_ranked(data: PhantomStudies) -> None:
    task = pretraining()
    with torch.no_grad():
        task.fusion.image_projection.bias[0] = math.nan
    with pytest.raises(UserError, match="8 of 8 studies have embeddings that are not finite"):
        trainer(data.root).validate(task, datamodule=data, verbose=False)
