"""Checkpoints load safely, and other data agree with them on tokens, vocabulary and rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.errors import UserError
from amif_lightning.models.ranking import CandidateTree
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.checkpoints import (
    Origin,
    check_activation,
    check_selection,
    origin_of,
    seen_elsewhere,
    trained_seconds,
)
from data_modules.phantom.module import Phantom
from tests import small
from tests.small import SMALL, phantom, trainer

WAYS = ["init_from", "ckpt_path", "load_from_checkpoint"]
State = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def saved(folder: Path) -> Path:
    """A checkpoint after one training step."""
    return small.saved(folder)[1]


@pytest.fixture
def other(folder: Path, saved: Path) -> Callable[..., Phantom]:
    """The same rows with other tokens and another vocabulary, unless asked for more."""

    def make(**options: Any) -> Phantom:
        corpus = folder / "corpus.txt"
        corpus.write_text("zebra quagga okapi\n" * 3)
        given: State = {"tokenizer_corpora": [str(corpus)], "vocabulary": "answers"}
        return phantom(folder / "phantom", **(given | options))

    return make


def changed(saved: Path, path: Path, change: Callable[[State], object]) -> Path:
    """A checkpoint after a change of its content."""
    checkpoint = torch.load(saved, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    return path


def validated(way: str, path: Path, data: Phantom, folder: Path) -> AMiFVQA:
    """A task with a checkpoint's weights, after validation on the data."""
    running = trainer(folder, limit_val_batches=1)
    if way == "load_from_checkpoint":
        task = AMiFVQA.load_from_checkpoint(path, map_location="cpu")
        running.validate(task, datamodule=data, verbose=False)
    else:
        task = AMiFVQA(**SMALL, init_from=str(path) if way == "init_from" else None)
        ckpt = str(path) if way == "ckpt_path" else None
        running.validate(task, datamodule=data, ckpt_path=ckpt, verbose=False)
    return task


def space_of(path: Path) -> AnswerSpace:
    return AnswerSpace.from_state(read_checkpoint(path)["answer_space"])


@pytest.mark.parametrize("way", WAYS)
def test_tokens_and_vocabulary_are_those_of_training(
    saved: Path, other: Callable[..., Phantom], way: str, tmp_path: Path
) -> None:
    stored, data = space_of(saved), other()
    assert data.tokenizer.to_json() != stored.tokenizer
    assert data.answer_space().candidate_ids != stored.candidate_ids
    task = validated(way, saved, data, tmp_path)
    assert data.tokenizer.to_json() == stored.tokenizer
    assert task.space is not None
    assert task.space.tokenizer == task.tokenizer == stored.tokenizer
    assert task.space.candidate_ids == stored.candidate_ids
    tree = CandidateTree(stored.candidate_ids, stored.cls_id, stored.sep_id)
    assert task.answerer is not None
    assert task.answerer.tree.tokens.tolist() == tree.tokens.tolist()
    weights = read_checkpoint(saved)["state_dict"]
    assert all(torch.equal(weights[name], value) for name, value in task.state_dict().items())
    assert not task.untrained
    own = data.answer_space()
    assert own.vocabulary != stored.vocabulary
    # A run that only starts from weights is a new one, with the vocabulary of its data.
    expected = own if way == "init_from" else stored
    assert task.vocabulary is not None
    assert task.space.vocabulary == expected.vocabulary
    assert task.vocabulary.pieces.tolist() == [i for ids in expected.vocabulary_ids for i in ids]


@pytest.mark.parametrize(
    ("way", "option"),
    [
        *((way, "split_seed") for way in WAYS),
        *(("ckpt_path", name) for name in ("validation_fraction", "test_split", "protocol")),
    ],
)
def test_rows_that_trained_it_are_not_scored(
    saved: Path, other: Callable[..., Phantom], way: str, option: str, tmp_path: Path
) -> None:
    own: State = {"split_seed": 0, "validation_fraction": 0.1, "test_split": "test"}
    new: State = {"split_seed": 7, "validation_fraction": 0.2, "test_split": "validation"}
    own["protocol"], new["protocol"] = "clean", "literature"
    data = other(**{option: new[option]})
    with pytest.raises(UserError, match=rf"give --data\.init_args\.{option} {own[option]}\."):
        validated(way, saved, data, tmp_path)


def test_another_data_set_is_allowed_and_an_unknown_selection_is_not_compared(saved: Path) -> None:
    stored = space_of(saved)
    assert stored.selection["dataset"] == "Phantom"
    present = replace(stored, selection=stored.selection | {"split_seed": 9})
    with pytest.raises(UserError, match="with split_seed 0 and the data module has split_seed 9"):
        check_selection(stored, present, same_protocol=True)
    for selection in ({}, stored.selection | {"dataset": "elsewhere"}):
        check_selection(replace(stored, selection=selection), present, same_protocol=True)
    paper = replace(stored, selection={}, protocol="literature")
    check_selection(paper, present, same_protocol=False)
    with pytest.raises(UserError, match=r"give --data\.init_args\.protocol literature"):
        check_selection(paper, present, same_protocol=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_without_tokenizer_is_refused(
    saved: Path, other: Callable[..., Phantom], way: str, tmp_path: Path
) -> None:
    def strip(checkpoint: State) -> None:
        del checkpoint["tokenizer"], checkpoint["answer_space"]

    path = changed(saved, tmp_path / "bare.ckpt", strip)
    if way == "load_from_checkpoint":  # no data is at hand when it loads
        task = AMiFVQA.load_from_checkpoint(path, map_location="cpu")
        with pytest.raises(UserError, match="holds no tokenizer"):
            trainer(tmp_path).validate(task, datamodule=other(), verbose=False)
        return
    with pytest.raises(UserError, match="holds no tokenizer"):
        validated(way, path, other(), tmp_path)


@pytest.mark.parametrize(
    ("way", "lacking"), [*((way, "answer_space") for way in WAYS), ("ckpt_path", "tokenizer")]
)
def test_a_tokenizer_is_adopted_wherever_the_file_holds_it(
    saved: Path, other: Callable[..., Phantom], way: str, lacking: str, tmp_path: Path
) -> None:
    """A task of another kind has no answers; an older file has it in the answer space."""
    path = changed(saved, tmp_path / "lacking.ckpt", lambda c: c.pop(lacking))
    task = validated(way, path, other(), tmp_path)
    assert task.space is not None
    assert task.tokenizer == space_of(saved).tokenizer
    assert task.space.candidate_ids == space_of(saved).candidate_ids


def test_init_from_does_not_replace_loaded_weights(
    saved: Path, other: Callable[..., Phantom], tmp_path: Path
) -> None:
    def since_trained(checkpoint: State) -> None:
        checkpoint["hyper_parameters"]["init_from"] = str(saved)
        checkpoint["state_dict"]["knowledge.gate.bias"] += 1

    path = changed(saved, tmp_path / "later.ckpt", since_trained)
    task = validated("load_from_checkpoint", path, other(), tmp_path)
    assert task.knowledge is not None
    assert task.knowledge.gate is not None
    later = read_checkpoint(path)["state_dict"]["knowledge.gate.bias"]
    assert torch.equal(task.knowledge.gate.bias, later)


def test_a_task_is_untrained_until_a_step_is_made(folder: Path, saved: Path) -> None:
    task, data = AMiFVQA(**SMALL), phantom(folder / "phantom", batch_size=8)
    trainer(folder, limit_val_batches=1).validate(task, datamodule=data, verbose=False)
    assert task.untrained
    trainer(folder, max_steps=1, limit_val_batches=0).fit(task, datamodule=data)
    assert not task.untrained


# ---- without data -----------------------------------------------------------------------------


def test_a_loaded_task_predicts_on_loaders_alone(folder: Path, saved: Path) -> None:
    data = phantom(folder / "phantom")
    task = AMiFVQA.load_from_checkpoint(saved, map_location="cpu")
    alone = trainer(folder).predict(task, data.test_dataloader()[0])
    with_data = trainer(folder).predict(task, datamodule=data)
    assert alone == with_data


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return pytest.fail, ("code from the file was run",)


def test_loading_runs_no_code_from_the_file(saved: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(saved, weights_only=True)
    torch.save(checkpoint | {"trap": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(UserError, match=r"trap\.ckpt contains Python objects"):
        AMiFVQA.load_from_checkpoint(tmp_path / "trap.ckpt", map_location="cpu")
    with pytest.raises(pytest.fail.Exception, match="code from the file was run"):
        AMiFVQA.load_from_checkpoint(tmp_path / "trap.ckpt", map_location="cpu", weights_only=False)


# ---- the image tower's activation ---------------------------------------------------------------


def test_the_resolved_activation_is_stored() -> None:
    task = AMiFVQA(**SMALL)
    assert task.hparams["vision_quick_gelu"] is None  # the small net has none
    vit = AMiFVQA(**(SMALL | {"vision": "ViT-B-32-quickgelu", "text": "small"}))
    assert vit.hparams["vision_quick_gelu"] is True


@pytest.mark.parametrize(("stored", "present"), [(True, False), (False, True)])
def test_weights_do_not_run_with_another_activation(stored: bool, present: bool) -> None:
    checkpoint = {"hyper_parameters": {"vision_quick_gelu": stored}}
    with pytest.raises(UserError, match=rf"init_args\.vision_quick_gelu {str(stored).lower()}\."):
        check_activation(checkpoint, present)
    check_activation(checkpoint, stored)
    check_activation({"hyper_parameters": {"vision_quick_gelu": None}}, present)
    check_activation({}, present)


# ---- other data ----------------------------------------------------------------------------------


def space(**selection: str | int) -> AnswerSpace:
    """Data of which only the selection of rows matters."""
    return AnswerSpace("clean", (), (), (), (), "{}", 1, 2, 0, 4, dict(selection))


_PARTS: dict[str, str | int] = {"A.dataset": "A", "A.split_seed": 0, "B.dataset": "B"}
MIXED = space(dataset="Mixture", held_out="C", **_PARTS)
APART = space(
    **{"dataset": "Mixture", "A.dataset": "A", "A.held_out": "C, E"},
    **{"B.dataset": "B", "B.held_out": "C"},
)


@pytest.mark.parametrize(
    ("stored", "name", "trained_on"),
    [
        (space(dataset="VQAMed2019"), "VQARAD", "VQAMed2019"),
        (space(dataset="VQARAD"), "VQARAD", None),
        (space(), "VQARAD", None),
        (space(dataset="VQAMed2019", held_out="SLAKE, VQARAD"), "VQARAD", None),
        *((MIXED, name, None) for name in ("A", "B", "C")),
        (MIXED, "D", "A and B"),
        (APART, "C", None),
        (APART, "E", "A and B"),  # only one of the parts left it out
    ],
)
def test_images_in_several_data_sets_are_warned_of(
    stored: AnswerSpace, name: str, trained_on: str | None
) -> None:
    warning = seen_elsewhere(stored, space(dataset=name))
    if trained_on is None:
        assert warning is None
        return
    assert warning is not None
    assert f"trained on {trained_on} and images of {name} were not held out" in warning


def test_a_mixture_and_its_parts_must_agree_on_rows() -> None:
    same, other = space(dataset="A", split_seed=0), space(dataset="A", split_seed=1)
    check_selection(MIXED, same, same_protocol=True)
    with pytest.raises(UserError, match=r"with split_seed 0 of A and the data module has .* 1"):
        check_selection(MIXED, other, same_protocol=True)
    check_selection(MIXED, space(dataset="C", split_seed=1), same_protocol=True)
    with pytest.raises(UserError, match="with split_seed 1 of A"):
        check_selection(other, MIXED, same_protocol=True)
    # What else was left out decides nothing about the rows of the same data set.
    held_out = space(dataset="A", split_seed=0, held_out="SLAKE")
    check_selection(held_out, same, same_protocol=True)


def test_seconds_of_training_add_up_over_runs() -> None:
    first: State = {"callbacks": {"ResultWriter": {"train_seconds": 100.0}}}
    assert trained_seconds(first) == 100.0
    second = first | {"origin": Origin(trained_seconds(first), ("seen",)).state()}
    assert trained_seconds(second) == 200.0
    assert origin_of(second) == Origin(100.0, ("seen",))
    assert trained_seconds({}) is None
    assert trained_seconds(first | {"origin": Origin(None).state()}) is None


def test_the_origin_of_a_run_is_stored(
    saved: Path, other: Callable[..., Phantom], folder: Path, tmp_path: Path
) -> None:
    def counted(state: State) -> None:
        state["callbacks"] = {"ResultWriter": {"train_seconds": 40.0}}
        state["answer_space"]["selection"]["dataset"] = "Elsewhere"

    start = changed(saved, tmp_path / "start.ckpt", counted)
    task, running = AMiFVQA(**SMALL, init_from=str(start)), trainer(folder, max_steps=1)
    with pytest.warns(UserWarning, match="trained on Elsewhere"):
        running.fit(task, datamodule=other())
    assert task.origin is not None
    assert task.origin.seconds == 40.0
    assert "trained on Elsewhere" in task.origin.warnings[0]
    running.save_checkpoint(tmp_path / "next.ckpt")
    again = AMiFVQA.load_from_checkpoint(tmp_path / "next.ckpt", map_location="cpu")
    assert again.origin == task.origin
