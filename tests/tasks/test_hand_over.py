"""The answering stage starts from a checkpoint of the pre-training stage."""

from __future__ import annotations

import math
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.cli import main
from amif_lightning.errors import UserError
from amif_lightning.models.fusion import global_embedding
from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from data_modules.phantom.module import Phantom
from tests.small import SMALL, phantom, saved, trainer
from tests.tasks.study_small import fitted, phantom_studies, pretraining

State = dict[str, torch.Tensor]
TEMPERATURE = "alignment.pairs.image_text.log_temperature"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hand_over")


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "own"])
def pretrained(request: pytest.FixtureRequest, root: Path) -> Path:
    """A checkpoint after a step of pre-training, with a shared projection or its own."""
    data = phantom_studies(root / "phantom", teacher="none")
    task = pretraining(labels="hard", shared_projection=request.param)
    running = fitted(root, task, data)
    path = root / f"{request.param}.ckpt"
    running.save_checkpoint(path)
    return path


class Start(NamedTuple):
    """A task after its start from a checkpoint, its data and the printed lines."""

    task: AMiFVQA
    data: Phantom
    output: str


def started(path: Path, root: Path, **options: Any) -> Start:
    """Start an answering task from a checkpoint, for data with another table of words."""
    corpus = root / "corpus.txt"
    corpus.write_text("zebra quagga okapi\n" * 3)
    data = phantom(root / "phantom", tokenizer_corpora=[str(corpus)])
    torch.manual_seed(1)
    task = AMiFVQA(**SMALL, init_from=str(path), **options)
    with redirect_stdout(StringIO()) as output:
        trainer(root, limit_val_batches=1).validate(task, datamodule=data, verbose=False)
    return Start(task, data, output.getvalue())


@pytest.fixture(scope="module")
def start(pretrained: Path, root: Path) -> Start:
    return started(pretrained, root)


def printed(task: AMiFVQA, stored: State, missing: str) -> str:
    """The line that a start from a pre-training checkpoint must print."""
    own, theirs = task.state_dict().keys(), stored.keys()
    unused = ["alignment", "matching_head"]  # alignment: of pairs that answering does not have
    if any(name.startswith("projections") for name in theirs):
        unused.append("projections")
    return (
        f": {len(own & theirs)} tensors loaded, {len(own - theirs)} missing ({missing}), "
        f"{len(theirs - own)} unused ({', '.join(unused)})."
    )


def test_every_key_is_accounted_for(pretrained: Path, start: Start) -> None:
    stored = read_checkpoint(pretrained)["state_dict"]
    task = start.task
    assert printed(task, stored, "decoder, knowledge") in start.output
    own = [name for name in stored if name.startswith("projections")]
    assert bool(own) == (pretrained.stem == "False")
    assert len(task.state_dict().keys() & stored.keys()) > 50


def test_weights_and_words_are_those_of_pre_training(pretrained: Path, start: Start) -> None:
    checkpoint = read_checkpoint(pretrained)
    stored: State = checkpoint["state_dict"]
    task, data, _ = start
    own = task.state_dict()
    for name in own.keys() & stored.keys():
        assert torch.equal(own[name], stored[name]), name
    assert {name.split(".")[0] for name in own.keys() & stored.keys()} == {
        "vision",
        "text",
        "fusion",
    }
    # The decoder goes on from the text encoder, as it was loaded and not as it was built.
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.0.intermediate.dense.weight"):
        assert torch.equal(own[f"decoder.lm.bert.{name}"], stored[f"text.bert.{name}"])
    assert task.untrained  # the decoder is untrained
    assert data.tokenizer.to_json() == task.tokenizer == checkpoint["tokenizer"]
    assert task.space is not None
    assert task.space.tokenizer == checkpoint["tokenizer"]
    assert task.space.candidates == tuple(data.splits.candidates)


def test_auxiliary_alignment_starts_with_the_learned_temperature(
    pretrained: Path, root: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(pretrained, weights_only=True)
    checkpoint["state_dict"][TEMPERATURE].fill_(math.log(0.031))
    learned = tmp_path / "learned.ckpt"
    torch.save(checkpoint, learned)
    task, _, output = started(learned, root, image_text=0.1, transport=0.1)
    stored = checkpoint["state_dict"]
    assert printed(task, stored, "decoder, knowledge") in output
    assert float(task.state_dict()[TEMPERATURE].exp()) == pytest.approx(0.031)

    del checkpoint["state_dict"][TEMPERATURE]
    never = tmp_path / "never.ckpt"
    torch.save(checkpoint, never)
    task, _, output = started(never, root, image_text=0.1, temperature=0.2)
    assert printed(task, stored, "alignment, decoder, knowledge") in output
    assert float(task.state_dict()[TEMPERATURE].exp()) == pytest.approx(0.2)


def test_both_stages_have_the_same_embeddings(pretrained: Path, start: Start) -> None:
    """Auxiliary alignment uses pre-training's projections, unless those were separate."""
    before = AMiFPretrain.load_from_checkpoint(pretrained, map_location="cpu").eval()
    task = start.task
    states, tokens = torch.randn(3, 5, task.text.width), torch.randn(2, 7, task.vision.width)
    with torch.no_grad():
        pairs = [
            (before.embed_text(states), global_embedding(task.fusion.text_projection, states)),
            (before.embed_image(tokens), global_embedding(task.fusion.image_projection, tokens)),
        ]
    for theirs, ours in pairs:
        assert torch.allclose(theirs, ours) == (before.projections is None)


def test_a_literature_run_may_start_from_pretraining(pretrained: Path, root: Path) -> None:
    """Studies have no candidates, so nothing of a protocol can have leaked into the weights."""
    data = phantom(root / "phantom", protocol="literature")
    task = AMiFVQA(**SMALL, init_from=str(pretrained))
    trainer(root, limit_val_batches=1).validate(task, datamodule=data, verbose=False)
    assert task.space is not None
    assert task.space.protocol == "literature"


def test_the_second_stage_of_pretraining_takes_all_of_the_first(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = phantom_studies(root / "phantom", teacher="none")
    first = pretraining(labels="hard", stage="global")
    running = fitted(tmp_path, first, data, max_steps=2)
    running.save_checkpoint(path := tmp_path / "first.ckpt")
    stored = {name: value.clone() for name, value in first.state_dict().items()}
    capsys.readouterr()

    second = pretraining(labels="hard", stage="local", init_from=str(path))
    fitted(tmp_path, second, data)
    assert f"{len(stored)} tensors loaded, 0 missing" in capsys.readouterr().out
    trained = second.state_dict()
    layers = [name for name in stored if name.startswith("fusion.text_layers")]
    assert any(not torch.equal(stored[name], trained[name]) for name in layers)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_checkpoint_of_the_other_stage_is_refused(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    answering = saved(tmp_path)[1]
    for task, data, path, stored, advice in (
        ("AMiFVQA", "Phantom", pretrained, "pre-training", f"init_from {pretrained})"),
        ("AMiFPretrain", "PhantomStudies", answering, "answering", "the other stage's --config"),
    ):
        words = [f"--model={task}", f"--data={data}", f"--runs={tmp_path}", f"--ckpt_path={path}"]
        assert main([command, *words]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        stage = ({"pre-training", "answering"} - {stored}).pop()
        begin = f"error: {path} is a checkpoint of the {stored} stage and this is the {stage} stage"
        assert line.startswith(begin)
        assert advice in line
        kind: Any = {"AMiFVQA": AMiFVQA, "AMiFPretrain": AMiFPretrain}[task]
        with pytest.raises(UserError, match=f"of the {stored} stage"):
            kind.load_from_checkpoint(path, map_location="cpu", **SMALL)
