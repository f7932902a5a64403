"""The batch contract: moving, pickling, padding, and the answer space in a checkpoint."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import StudyBatch, TeacherFeatures, Tokens, VQABatch, pad_tokens

SPACE = AnswerSpace(
    protocol="clean",
    candidates=("yes", "left lung"),
    candidate_ids=((5,), (6, 7)),
    vocabulary=("left", "lung", "yes"),
    vocabulary_ids=((6,), (7,), (5,)),
    tokenizer='{"model": "\u00e9"}',
    cls_id=2,
    sep_id=3,
    pad_id=0,
    table_size=8,
    selection={"dataset": "VQARAD", "split_seed": 0, "validation_fraction": 0.1},
)


def batch() -> VQABatch:
    return VQABatch(
        images=torch.arange(24.0).view(2, 3, 2, 2),
        image_index=torch.tensor([1, 0, 1]),
        question=pad_tokens([[2, 5, 3], [2, 3], [2, 6, 7, 3]], 0),
        answer=pad_tokens([[2, 5, 3], [2, 6, 7, 3], [2, 5, 3]], 0),
        strata=torch.tensor([[True, False], [True, True], [True, False]]),
        question_ids=["a/test/0", "a/test/1", "a/test/2"],
        references=[("yes",), ("left lung", "left"), ("yes",)],
        image_keys=["i1", "i0", "i1"],
        questions=["is it?", "where?", "is it?"],
    )


def studies(teacher: bool = True) -> StudyBatch:
    features = TeacherFeatures(torch.eye(2), torch.ones(2, 2), torch.zeros(2, 2), 4.5)
    return StudyBatch(
        first=torch.arange(24.0).view(2, 3, 2, 2),
        second=torch.arange(24.0).view(2, 3, 2, 2) + 1,
        text=pad_tokens([[2, 5, 3], [2, 3]], 0),
        study=torch.tensor([2**62, 7]),
        text_id=torch.tensor([3, 4]),
        relevance=torch.tensor([5, 5]),
        position=torch.tensor([1, 0]),
        teacher=features if teacher else None,
        study_ids=["a/1", "a/0"],
        first_ids=["a/x", "a/y"],
        second_ids=["a/z", "a/y"],
        texts=["no nodule", "mass"],
    )


def tensors(value: VQABatch | StudyBatch | Tokens | TeacherFeatures) -> dict[str, Tensor]:
    """Every tensor of a batch, found by walking over it and not by naming fields."""
    found: dict[str, Tensor] = {}
    for name, part in vars(value).items():
        if isinstance(part, Tensor):
            found[name] = part
        elif isinstance(part, Tokens | TeacherFeatures):
            found |= {f"{name}.{inner}": tensor for inner, tensor in tensors(part).items()}
    return found


def assert_equal(one: VQABatch | StudyBatch, other: VQABatch | StudyBatch) -> None:
    assert tensors(one).keys() == tensors(other).keys()
    for name, tensor in tensors(one).items():
        assert torch.equal(tensor, tensors(other)[name]), name
        assert tensor.dtype == tensors(other)[name].dtype
    assert type(one) is type(other)
    for name, part in vars(one).items():
        if isinstance(part, list):
            assert part == getattr(other, name), name
    scales = [getattr(getattr(some, "teacher", None), "scale", None) for some in (one, other)]
    assert scales[0] == scales[1]


def test_padding_is_on_the_right_and_the_mask_says_so() -> None:
    tokens = pad_tokens([[2, 0, 3], [2], (4, 5)], pad_id=9)
    assert tokens.ids.tolist() == [[2, 0, 3], [2, 9, 9], [4, 5, 9]]
    # A token that equals the padding id is a token where it was given.
    assert tokens.mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert (tokens.ids.dtype, tokens.mask.dtype) == (torch.int64, torch.bool)


@pytest.mark.parametrize("sequences", [[], [[2, 3], []]])
def test_nothing_to_pad_is_an_error(sequences: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="none of them empty"):
        pad_tokens(sequences, 0)


def test_length_counts_questions_and_not_images() -> None:
    assert len(batch()) == 3
    assert len(batch().images) == 2
    assert len(studies()) == 2


MAKERS = [(batch, 7), (studies, 11), (lambda: studies(teacher=False), 8)]


@pytest.mark.parametrize(("make", "count"), MAKERS)
def test_a_move_takes_every_tensor_along_and_leaves_the_original(
    make: Callable[[], VQABatch | StudyBatch], count: int
) -> None:
    original = make()
    assert len(tensors(original)) == count
    moved = original.to("meta")
    assert {t.device.type for t in tensors(moved).values()} == {"meta"}
    assert {t.device.type for t in tensors(original).values()} == {"cpu"}
    assert_equal(original.to("cpu", non_blocking=True), make())


@pytest.mark.parametrize(("make", "count"), MAKERS)
def test_pinning_takes_every_tensor_along(
    make: Callable[[], VQABatch | StudyBatch], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Page-locked memory needs a GPU's driver; the walk over the fields does not.
    pinned: list[int] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(id(tensor))
        return tensor.clone()

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    original = make()
    result = original.pin_memory()
    assert sorted(pinned) == sorted(id(t) for t in tensors(original).values())
    assert len(pinned) == count
    assert_equal(result, original)
    assert all(t is not tensors(original)[n] for n, t in tensors(result).items())


@pytest.mark.parametrize("make", [batch, studies])
def test_a_batch_survives_pickling_and_a_worker_process(
    make: Callable[[], VQABatch | StudyBatch],
) -> None:
    assert_equal(pickle.loads(pickle.dumps(make())), make())
    rows = TensorDataset(torch.arange(2))
    arrived = list(DataLoader(rows, num_workers=1, collate_fn=lambda _: make()))
    assert len(arrived) == 2
    for one in arrived:
        assert_equal(one, make())


def test_the_answer_space_survives_a_checkpoint_of_plain_types(tmp_path: Path) -> None:
    torch.save({"answer_space": SPACE.state()}, tmp_path / "x.ckpt")
    loaded = torch.load(tmp_path / "x.ckpt", weights_only=True)
    restored = AnswerSpace.from_state(loaded["answer_space"])
    assert restored == SPACE
    assert hash(restored) == hash(SPACE)  # tuples all the way down


def test_the_answer_space_survives_json() -> None:
    # JSON turns tuples into lists.
    state = json.loads(json.dumps(SPACE.state()))
    assert AnswerSpace.from_state(state) == SPACE
    del state["selection"]  # of an older file
    assert AnswerSpace.from_state(state).selection == {}
