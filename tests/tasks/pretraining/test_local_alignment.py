"""Transport of unfused tokens and the curriculum of negatives, inside a task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from amif_lightning.batch import StudyBatch, Tokens
from amif_lightning.losses import alignment
from amif_lightning.losses.alignment import GlobalAlignment
from amif_lightning.models.words import affirmed, denial_ids
from amif_lightning.tasks import AMiFPretrain
from amif_lightning.tasks.pretraining import local_alignment
from amif_lightning.tasks.pretraining.mining import Drawn
from data_modules.phantom.module import PhantomStudies
from tests.small import trainer
from tests.tasks.study_small import first_batch, fitted, phantom_studies, pretraining, step


def ready(data: PhantomStudies, **options: Any) -> AMiFPretrain:
    """In evaluation mode, with the data's tokenizer."""
    task = pretraining(**options).eval()
    task.tokenizer = data.tokenizer.to_json()
    return task


def caught(monkeypatch: pytest.MonkeyPatch, task: AMiFPretrain) -> list[Drawn]:
    """All draws of a task."""
    found: list[Drawn] = []
    draw = task.draw

    def kept(*given: Any) -> Drawn:
        found.append(draw(*given))
        return found[-1]

    monkeypatch.setattr(task, "draw", kept)
    return found


@torch.no_grad()
def moved_alone(task: AMiFPretrain, batch: StudyBatch, text: int, image: int) -> float:
    """Transport of one report onto one image, without padding or other studies."""
    length = int(batch.text.mask[text].sum())
    ids = batch.text.ids[[text], :length]
    states = task.text(ids, torch.ones_like(ids).bool())
    words = task.text.words(ids) if task.transport_tokens == "words" else states
    assert batch.second_frontal is not None
    frontal = batch.second if bool(batch.second_frontal[image]) else batch.first
    patches = task.vision.patches(task.vision(frontal[[image]]))
    x = task.fusion.text_projection(words)[:, 1:-1]
    y = task.fusion.image_projection(patches)
    assert task.tokenizer is not None
    kept = affirmed(ids, *denial_ids(local_alignment.Tokenizer.from_str(task.tokenizer)))
    every = torch.ones(1, y.shape[1], dtype=torch.bool)
    return float(task.transport(x, y, kept[:, 1:-1], every))


# ---- transport of unfused tokens ----------------------------------------------------------------


@pytest.mark.parametrize("tokens", ["words", "contextual"])
@pytest.mark.parametrize("loss", ["contrast", "matched"])
def test_transport_equals_that_of_single_pairs(
    data: PhantomStudies, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch, tokens: str, loss: str
) -> None:
    task = ready(data, stage="global", transport_tokens=tokens, transport_loss=loss)
    draws = caught(monkeypatch, task)
    _, logged = step(task, batch)

    def moved(text: int, image: int) -> float:
        return moved_alone(task, batch, text, image)

    own = [moved(i, i) for i in range(len(batch))]
    expected = sum(own) / len(own)
    if loss == "contrast":
        (drawn,) = draws
        assert bool(drawn.valid.all())
        gaps = [own[i] - moved(int(drawn.texts[i]), i) for i in range(len(own))]
        gaps += [own[i] - moved(i, int(drawn.images[i])) for i in range(len(own))]
        expected = sum(math.log1p(math.exp(gap / 0.02)) for gap in gaps) / len(gaps)
    assert logged["train/transport_loss"] == pytest.approx(expected, rel=1e-3)


def test_denials_can_be_transported(data: PhantomStudies, batch: StudyBatch) -> None:
    shares = []
    for denials in (True, False):
        task = ready(data, stage="global", transport_denials=denials)
        states = task.text(batch.text.ids, batch.text.mask)
        tokens = task.local_tokens(batch.text, states, task.vision(batch.first))
        shares.append(tokens.mask.sum(1))
    assert bool((shares[1] <= shares[0]).all())
    assert int(shares[1].sum()) < int(shares[0].sum())


def test_transport_starts_after_its_share_of_the_steps(data: PhantomStudies) -> None:
    seen: list[bool] = []

    class Keep(Callback):
        def on_train_batch_end(self, running: Any, *rest: Any) -> None:
            seen.append("train/transport_loss" in running.callback_metrics)

    task = pretraining(stage="global", transport_start=0.5)
    fitted(data.root, task, data, max_steps=4, callbacks=[Keep()])
    assert seen == [False, False, True, True]


def test_local_losses_use_the_frontal_view(data: PhantomStudies, batch: StudyBatch) -> None:
    flags = torch.tensor([True, False] * (len(batch) // 2))
    turned = replace(batch, second_frontal=flags)
    first, second = torch.zeros(6, 5, 32), torch.ones(6, 5, 32)
    shown = ready(data)._shown(turned, first, second)
    assert shown[:, 0, 0].tolist() == flags.float().tolist()
    assert ready(data, local_view="first")._shown(turned, first, second) is first


# ---- the curriculum -----------------------------------------------------------------------------

STEPS = 6


class Keep(Callback):
    """The texts that were drawn at every step, and whether they were hard."""

    def __init__(self) -> None:
        self.texts: list[list[int]] = []
        self.hard: list[bool] = []

    def on_train_start(self, running: Any, task: Any) -> None:
        draw = task.draw

        def kept(weights: tuple[Tensor, Tensor], study: Tensor | None = None) -> Drawn:
            found: Drawn = draw(weights, study)
            assert study is not None
            self.texts.append(study[found.texts].tolist())
            finite = weights[0][weights[0] > -math.inf]
            self.hard.append(len(finite.unique()) > 1)
            return found

        task.draw = kept


def run(data: PhantomStudies, folder: Path, negatives: str, resume: Path | None = None) -> Keep:
    """Stage local without transport, so that every step draws once."""
    keep = Keep()
    task = pretraining(stage="local", transport=0.0, negatives=negatives, lr=1e-3, random_share=0.5)
    saved = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    given: dict[str, Any] = {"limit_val_batches": 0, "num_sanity_val_steps": 0, "max_epochs": -1}
    given |= {"enable_checkpointing": True, "callbacks": [keep, saved], "max_steps": STEPS}
    trainer(folder, **given).fit(task, datamodule=data, ckpt_path=resume)
    return keep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(data: PhantomStudies, folder: Path) -> Keep:
    """An uninterrupted curriculum; ``folder`` has its checkpoint of every step."""
    return run(data, folder, "curriculum")


def test_the_curriculum_draws_like_random_and_then_like_hard(
    data: PhantomStudies, tmp_path: Path, whole: Keep
) -> None:
    random = run(data, tmp_path / "random", "random")
    assert whole.hard == [False] * 3 + [True] * 3
    assert random.hard == [False] * STEPS
    assert whole.texts[:3] == random.texts[:3]
    assert whole.texts[3:] != random.texts[3:]
    hard = run(data, tmp_path / "hard", "hard")
    assert hard.hard == [True] * STEPS
    assert whole.texts[:3] != hard.texts[:3]
    # Encoders are frozen and the projections have learned the same from the alignment losses.
    assert whole.texts[3:] == hard.texts[3:]


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_resumed_run_switches_at_the_same_step(
    data: PhantomStudies, tmp_path: Path, folder: Path, whole: Keep, stop: int
) -> None:
    again = run(data, tmp_path, "curriculum", resume=folder / f"step={stop}.ckpt")
    assert again.texts == whole.texts[stop:]
    assert again.hard == whole.hard[stop:]


# ---- cost and warnings --------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["joint", "local"])
def test_logits_and_labels_are_computed_once_a_step(
    data: PhantomStudies, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    calls: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            calls.append(name)
            return real(*given, **more)

        return call

    monkeypatch.setattr(alignment, "soft_labels", counted("labels", alignment.soft_labels))
    task = ready(data, stage=stage, negatives="hard", view_view=0.0, text_text=0.0)
    monkeypatch.setattr(task, "hard_weights", counted("again", task.hard_weights))
    pair = task.alignment.pairs["image_text"]
    assert isinstance(pair, GlobalAlignment)
    monkeypatch.setattr(pair, "logits", counted("logits", pair.logits))
    step(task, batch)
    assert sorted(calls) == ["labels", "labels", "logits"]  # labels of images and of texts


@pytest.mark.parametrize("collapsed", [False, True])
def test_collapsed_tokens_are_warned_of(
    data: PhantomStudies, collapsed: bool, recwarn: pytest.WarningsRecorder
) -> None:
    task = pretraining(stage="global")
    if collapsed:
        with torch.no_grad():
            for layer in (task.fusion.text_projection, task.fusion.image_projection):
                layer.weight.mul_(1e-3)
                layer.bias.fill_(1.0)
    running = trainer(data.root)
    running.validate(task, datamodule=data, verbose=False)
    warned = [str(one.message) for one in recwarn if "mean cosine above 0.9" in str(one.message)]
    assert len(warned) == collapsed
    assert (float(running.callback_metrics["val/transport_cosine"]) > 0.9) == collapsed


# ---- bad input ----------------------------------------------------------------------------------

LOSSES: list[dict[str, Any]] = [
    {"stage": "global"},
    {"stage": "global", "transport_loss": "matched"},
    {"stage": "joint", "negatives": "hard"},
    {"stage": "joint", "transport_tokens": "fused"},
    {"stage": "local"},
]


def finite(task: AMiFPretrain, batch: StudyBatch, number: int = 0) -> dict[str, float]:
    task.zero_grad()
    total, logged = step(task, batch, number)
    total.backward()
    assert math.isfinite(float(total.detach()))
    assert all(math.isfinite(value) for value in logged.values())
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    return logged


@pytest.mark.parametrize("options", LOSSES, ids=str)
def test_a_batch_of_one(data: PhantomStudies, options: dict[str, Any]) -> None:
    alone = first_batch(phantom_studies(data.root, batch_size=1))
    logged = finite(ready(data, **options), alone)
    if options.get("transport_loss") != "matched" and "train/transport_loss" in logged:
        assert logged["train/transport_loss"] == 0.0  # there is no other study


@pytest.mark.parametrize("options", LOSSES, ids=str)
@pytest.mark.parametrize("which", ["one", "all"])
def test_reports_without_inner_words(
    data: PhantomStudies, batch: StudyBatch, options: dict[str, Any], which: str
) -> None:
    ids, mask = batch.text.ids.clone(), batch.text.mask.clone()
    rows = slice(0, 1) if which == "one" else slice(None)
    ids[rows, 1] = 3  # [SEP]
    mask[rows, 2:] = False
    logged = finite(ready(data, **options), replace(batch, text=Tokens(ids, mask)))
    if which == "all" and "train/transport_loss" in logged:
        assert logged["train/transport_loss"] == 0.0


@pytest.mark.parametrize("options", LOSSES, ids=str)
def test_studies_without_an_admissible_negative(
    data: PhantomStudies, batch: StudyBatch, options: dict[str, Any]
) -> None:
    same = replace(batch, text_id=torch.zeros_like(batch.text_id))
    logged = finite(ready(data, **options), same)
    assert logged.get("train/drawn_share", 0.0) == 0.0


def test_a_row_without_affirmed_words_does_not_count(
    data: PhantomStudies, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ready(data, stage="global")
    read = task._read_tokens

    def without_first(text: Tokens) -> Tensor:
        kept = read(text).clone()
        kept[0] = False
        return kept

    monkeypatch.setattr(task, "_read_tokens", without_first)
    draws = caught(monkeypatch, task)
    for place in range(50):  # until another image draws this report
        found = len(draws)
        logged = finite(task, batch, place)
        if int((draws[found].texts[1:] == 0).sum()):
            break
    drawn = draws[found]
    assert bool(drawn.valid.all())  # it may be drawn, and is then left out of the mean
    assert int((drawn.texts[1:] == 0).sum()) > 0
    terms = []
    for i in range(1, len(batch)):
        pairs = [(int(drawn.texts[i]), i), (i, int(drawn.images[i]))]
        own = moved_alone(task, batch, i, i)
        terms += [
            math.log1p(math.exp((own - moved_alone(task, batch, *pair)) / 0.02))
            for pair in pairs
            if pair[0] != 0
        ]
    assert len(terms) < 2 * (len(batch) - 1)
    assert logged["train/transport_loss"] == pytest.approx(sum(terms) / len(terms), rel=1e-3)


# ---- trained parameters -------------------------------------------------------------------------


def trained(task: AMiFPretrain) -> set[str]:
    """Parts of which every parameter is trained; a part that is so by half is an error."""
    parts: dict[str, set[bool]] = {}
    for name, parameter in task.named_parameters():
        first, second, *_ = name.split(".")
        part = f"{first}.{second}" if first == "fusion" else first
        parts.setdefault(part, set()).add(parameter.requires_grad)
    assert all(len(kinds) == 1 for kinds in parts.values()), parts
    return {part for part, kinds in parts.items() if True in kinds}


LAYERS = {
    f"fusion.{name}"
    for name in ("text_layers", "image_layers", "text_norm", "image_norm", "modality")
}
PROJECTIONS = {"fusion.text_projection", "fusion.image_projection"}
PARTS = {
    "global": {"vision", "text", "alignment"} | PROJECTIONS,
    "local": {"alignment", "matching_head"} | PROJECTIONS | LAYERS,
    "joint": {"vision", "text", "alignment", "matching_head"} | PROJECTIONS | LAYERS,
}


@pytest.mark.parametrize("tokens", ["words", "contextual", "fused"])
@pytest.mark.parametrize("stage", ["global", "local", "joint"])
def test_a_stage_trains_its_parts_whatever_the_tokens(stage: str, tokens: str) -> None:
    task = pretraining(stage=stage, transport_tokens=tokens)
    assert trained(task) == PARTS[stage]
    moves = stage != "global" if tokens == "fused" else stage != "local"
    assert bool(task.weights["transport"]) == moves
