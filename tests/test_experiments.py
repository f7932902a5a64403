"""Every shipped experiment takes a step, and every overlay parses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.cli import main
from tests.fakes import redraw, write_vqa_med_2019, write_vqa_rad
from tests.fakes_corpora import (
    write_image_text,
    write_iu_xray,
    write_medicat,
    write_mimic_cxr,
    write_roco_v1,
)
from tests.fakes_path_vqa import write_path_vqa
from tests.fakes_slake import write_slake
from tests.fakes_table import write_question_table

PROJECT = Path(__file__).parents[1]
FOLDER = PROJECT / "experiments"
OVERLAYS = sorted(
    p
    for name in ("size", "hardware", "stage", "ablation")
    for p in FOLDER.glob(f"{name}/**/*.yaml")
)
# The files of sweep/ have tests of their own (tests/cli/commands/test_sweep.py).
EXPERIMENTS = sorted(p for name in ("pretrain", "vqa") for p in FOLDER.glob(f"{name}/*.yaml"))
ANSWERING = [path for path in EXPERIMENTS if path.parent.name == "vqa"]


def _write_both(root: Path) -> None:
    write_vqa_rad(root / "VQARAD")
    write_vqa_med_2019(root / "VQAMed2019")


def _write_corpora(root: Path) -> None:
    write_mimic_cxr(root / "MIMICCXR")
    write_medicat(root / "MedICaT")
    write_roco_v1(root / "ROCO")
    _write_both(root)
    for seed, folder in enumerate(sorted(root.iterdir()), start=1):
        redraw(folder, seed)


WRITERS: dict[str, Callable[[Path], object]] = {
    "VQARAD": write_vqa_rad,
    "SLAKE": write_slake,
    "VQAMed2019": write_vqa_med_2019,
    "Phantom": lambda root: None,  # generates itself
    "PhantomStudies": lambda root: None,
    "CaptionsFromQA": write_vqa_med_2019,
    "QuestionMixture": _write_both,
    "Mixture": _write_corpora,
    "PathVQA": lambda root: write_path_vqa(root, "hf"),
    "MIMICCXR": write_mimic_cxr,
    "ROCO": write_roco_v1,
    "MedICaT": write_medicat,
    "ImageText": write_image_text,
    "IUXray": write_iu_xray,
    "QuestionTable": write_question_table,
}
_FEW = ("train_studies=24", "validation_studies=8", "test_studies=8")
_ALONE = ("batch_size=2", "teacher=none")
SMALL = {
    "Phantom": _FEW,
    "PhantomStudies": (*_FEW, "batch_size=8"),
    # The hub's teacher cannot be reached here; its embeddings have tests of their own.
    **dict.fromkeys(("CaptionsFromQA", "ROCO", "MedICaT", "ImageText", "IUXray"), _ALONE),
    "Mixture": _ALONE,
    "MIMICCXR": _ALONE,
}


def _root_of(data: str, root: Path) -> list[str]:
    """The option for the folder of a data class."""
    if data in ("QuestionMixture", "Mixture"):

        def modules(*names: str) -> str:
            return json.dumps(
                [{"class_path": name, "init_args": {"root": str(root / name)}} for name in names]
            )

        answering = modules("VQARAD", "VQAMed2019")
        if data == "QuestionMixture":
            return [f"--data.init_args.parts={answering}"]
        corpora = modules("MIMICCXR", "MedICaT", "ROCO")
        return [f"--data.init_args.parts={corpora}", f"--data.init_args.held_out={answering}"]
    if data == "CaptionsFromQA":
        return [f"--data.init_args.source.init_args.root={root}"]
    return [f"--data.init_args.root={root}"]


def _experiments(place: int, overlay: Path) -> list[Path]:
    """An experiment of each stage that an overlay is for, another one for the next overlay."""
    if overlay.parent.parent.name == "ablation":
        return [FOLDER / overlay.parent.name / "phantom.yaml"]
    pretraining = [path for path in EXPERIMENTS if path not in ANSWERING]
    stages = {"stage": [pretraining]}.get(overlay.parent.name, [pretraining, ANSWERING])
    stages = [ANSWERING] if overlay.stem.endswith("_answering") else stages
    return [paths[place % len(paths)] for paths in stages]


PAIRS = [
    (path, overlay)
    for place, overlay in enumerate(OVERLAYS)
    for path in _experiments(place, overlay)
]


def _name(path: Path) -> str:
    return str(path.relative_to(FOLDER))


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
    monkeypatch.chdir(tmp_path)  # a forgotten relative path would be written here


def test_they_are_found() -> None:
    assert {"phantom", "vqa_rad", "vqa_med_2019"} <= {path.stem for path in ANSWERING}
    others = {path.stem for path in EXPERIMENTS} - {"vqa_rad"}
    assert {"phantom", "base", "released"} <= others
    assert {"tiny", "small", "base", "cpu", "gpu", "ddp"} <= {path.stem for path in OVERLAYS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=_name)
def test_an_experiment_takes_a_step(path: Path, tmp_path: Path) -> None:
    data = yaml.safe_load(path.read_text())["data"]["class_path"].rpartition(".")[2]
    root = tmp_path / "data"
    WRITERS[data](root)
    words = [
        "fit",
        f"--config={path}",
        f"--config={FOLDER / 'size' / 'tiny.yaml'}",
        *_root_of(data, root),
        *(["--model.init_args.labels=hard"] if "teacher=none" in SMALL.get(data, ()) else []),
        *(f"--data.init_args.{word}" for word in SMALL.get(data, ())),
        "--data.init_args.num_workers=0",
        f"--runs={tmp_path / 'runs'}",
        "--trainer.accelerator=cpu",
        "--trainer.fast_dev_run=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    assert main(words) == 0


@pytest.mark.parametrize(("path", "overlay"), PAIRS, ids=_name)
def test_an_overlay_sets_its_options_alone(
    path: Path, overlay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", f"--config={path}", f"--config={overlay}", "--print_config"]) == 0
    merged = yaml.safe_load(capsys.readouterr().out)
    given = yaml.safe_load(overlay.read_text())
    for part in ("model", "data"):
        for name, value in given.get(part, {}).get("init_args", {}).items():
            assert merged[part]["init_args"][name] == value
    check_within(given.get("trainer", {}), merged["trainer"])
    # What the overlay does not set is still the experiment's.
    own = yaml.safe_load(path.read_text())
    assert merged["experiment"] == own["experiment"]
    for name in own["trainer"].keys() - given.get("trainer", {}).keys():
        assert merged["trainer"][name] == own["trainer"][name]


def check_within(given: Any, read: Any) -> None:
    """Compare given values with read ones, which complete the paths and options of classes."""
    if isinstance(given, dict):
        for name, value in given.items():
            full = read[name]
            check_within(
                value,
                full.rpartition(".")[2] if name == "class_path" and "." not in value else full,
            )
    elif isinstance(given, list):
        for one, other in zip(given, read, strict=True):
            check_within(one, other)
    else:
        assert read == given


def test_experiments_smooth_labels_and_sizes_do_not_change_it() -> None:
    """The class's default is the paper's loss; our data sets are small."""
    files = [*ANSWERING, *FOLDER.glob("size/*.yaml")]
    models = {path.stem: yaml.safe_load(path.read_text()).get("model", {}) for path in files}
    options = {name: model.get("init_args", {}) for name, model in models.items()}
    assert not any("label_smoothing" in options[path.stem] for path in FOLDER.glob("size/*.yaml"))
    sets = {name for name, given in options.items() if given.get("label_smoothing") == 0.1}
    assert sets == {path.stem for path in ANSWERING} - {"released"}


DEVICES = sorted(set(FOLDER.glob("hardware/*.yaml")) - {FOLDER / "hardware/checkpointing.yaml"})


@pytest.mark.parametrize("overlay", DEVICES, ids=_name)
def test_a_hardware_overlay_names_its_accelerator(overlay: Path) -> None:
    """Else the experiment's stays: `ddp` after an experiment for CPUs would be one CPU process."""
    assert set(yaml.safe_load(overlay.read_text())["trainer"]) >= {"accelerator", "devices"}


def test_two_processes_on_cpus_override_the_overlay(capsys: pytest.CaptureFixture[str]) -> None:
    files = (FOLDER / "vqa" / "phantom.yaml", FOLDER / "hardware" / "ddp.yaml")
    words = [*(f"--config={path}" for path in files), "--trainer.accelerator", "cpu"]
    assert main(["fit", *words, "--trainer.devices", "2", "--print_config"]) == 0
    merged = yaml.safe_load(capsys.readouterr().out)["trainer"]
    found = [str(merged[name]) for name in ("accelerator", "devices", "strategy")]
    assert found == ["cpu", "2", "ddp"]


@pytest.mark.parametrize("path", EXPERIMENTS + OVERLAYS, ids=_name)
def test_the_first_line_says_how_to_use_it(path: Path) -> None:
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert first.startswith("# ")
    assert f"--config experiments/{_name(path)}" in first
    if path in EXPERIMENTS:
        assert second.startswith("# ")
        assert first.startswith("# python -m amif_lightning fit --config ")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=_name)
def test_size_and_model_agree_within_an_experiment(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    model, data = (content[part].get("init_args", {}) for part in ("model", "data"))
    assert model.get("image_size") == data.get("image_size")
