"""``share``: the folder, the upload to a local hub, and wrong calls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml

from amif_lightning.cli.entry import main
from amif_lightning.inference.load import restore
from amif_lightning.models.vision import CONFIGURED, build_vision
from amif_lightning.tasks import AMiFVQA
from tests import small
from tests.hub_server import accept, serving_hub
from tests.models.test_vision import VIT, write_folder
from tests.reports.conftest import write_answers


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint with a record in its folder."""
    path = write_answers(tmp_path / "runs").parent / "best.ckpt"
    small.saved(tmp_path / "made", max_question_tokens=10)[1].rename(path)
    return path


def test_a_model_goes_to_a_folder_and_to_the_hub_and_comes_back(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = tmp_path / "shared" / "model", "me/amif-rad"
    with serving_hub(tmp_path / "cache") as server:
        sent = accept(server, name)
        assert main(["share", str(checkpoint), "--to", str(folder), "--push", name]) == 0
        out = capsys.readouterr().out
        assert f"Model written to {folder}" in out
        assert f"Uploaded to {server.base}/{name}." in out
        assert "warning" not in out
        written = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert sent == written
        assert set(written) == {
            *("config.json", "model.safetensors", "tokenizer.json", "README.md"),
            ".eval_results/vqarad-clean.yaml",
        }
        task = AMiFVQA.from_pretrained(name)
    expected = restore(checkpoint, "cpu")
    assert all((task.state_dict()[n] == v).all() for n, v in expected.state_dict().items())
    assert task.doubts == expected.doubts == ()  # the record is evidence
    assert task.space == expected.space
    card = written["README.md"].decode()
    assert f'from_pretrained("{name}")' in card
    assert "evidence that the images were used" in card
    assert yaml.safe_load(written[".eval_results/vqarad-clean.yaml"])


def test_an_image_tower_of_a_folder_needs_only_its_configuration(
    checkpoint: Path, tmp_path: Path
) -> None:
    place = tmp_path / "tower"
    write_folder(place, VIT)
    state = torch.load(checkpoint, weights_only=True)
    side = state["hyper_parameters"]["image_size"]
    tower = build_vision(f"{CONFIGURED}{place}", None, side)  # other random weights
    state["hyper_parameters"] |= {"vision": f"local-dir:{place}", "vision_quick_gelu": None}
    state["state_dict"] = {
        name: value
        for name, value in state["state_dict"].items()
        if not name.startswith(("vision.", "fusion.image_projection", "tags"))
    }
    state["state_dict"] |= {f"vision.{name}": value for name, value in tower.state_dict().items()}
    width = state["hyper_parameters"]["width"]
    state["state_dict"]["fusion.image_projection.weight"] = torch.zeros(width, tower.width)
    state["state_dict"]["fusion.image_projection.bias"] = torch.zeros(width)
    torch.save(state, checkpoint)
    assert main(["share", str(checkpoint), "--to", str(tmp_path / "model")]) == 0
    shutil.rmtree(place)
    task = AMiFVQA.from_pretrained(tmp_path / "model")
    for name, value in tower.state_dict().items():
        assert torch.equal(task.vision.state_dict()[name], value)


def test_a_checkpoint_without_record_is_shared_with_a_warning(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(checkpoint.parent.glob("result-*.json")).unlink()
    assert main(["share", str(checkpoint), "--to", str(tmp_path / "model")]) == 0
    assert "holds no result of this checkpoint" in capsys.readouterr().out
    wheel = tmp_path / "amif_lightning-0.1.0-py3-none-any.whl"
    wheel.touch()
    space = ["--space", str(tmp_path / "space"), "--wheel", str(wheel)]
    assert main(["share", str(checkpoint), *space]) == 0
    assert "holds no result of this checkpoint" in capsys.readouterr().out
    assert "Nothing is known of this model's accuracy" in (tmp_path / "model/README.md").read_text()


def test_a_space_runs_the_demo_on_its_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "amif_lightning-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    space = tmp_path / "my-space"
    assert main(["share", str(checkpoint), "--space", str(space), "--wheel", str(wheel)]) == 0
    front = yaml.safe_load((space / "README.md").read_text("utf-8").split("---")[1])
    assert front == {"title": "my-space", "sdk": "docker", "app_port": 7860}
    lines = (space / "Dockerfile").read_text("utf-8").splitlines()
    copied = [line.split()[-2] for line in lines if line.startswith("COPY")]
    assert all((space / name).exists() for name in copied)
    (command,) = (json.loads(line[4:]) for line in lines if line.startswith("CMD "))
    assert command[:3] == ["python", "-m", "amif_lightning"]
    monkeypatch.chdir(space)
    with mock.patch("uvicorn.Server.run") as served:
        assert main([*command[3:], "--port", "0"]) == 0
    served.assert_called_once()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "give --to FOLDER, --push NAMESPACE/NAME or --space FOLDER"),
        (["--space", "space"], "--space FOLDER and --wheel FILE.whl go together"),
        (["--space", "space", "--wheel", "x.whl"], "x.whl is no wheel of this package"),
        (["--space", ".", "--wheel", "x.whl"], "exists already: give a new folder as --space"),
        (["--to", "model", "--public"], "--public is for the repository of --push"),
        (["--to", "."], "exists already: give a new folder"),
        (["--push", "me/forbidden"], "The model could not be uploaded to me/forbidden"),
        (["--push", "a/b/c"], "could not be uploaded to a/b/c"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_leaves_nothing(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with serving_hub(tmp_path / "cache"):
        assert main(["share", str(checkpoint), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
