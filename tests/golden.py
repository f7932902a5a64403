"""The golden run: 40 steps of each stage on a small phantom set, one thread, float32, seed 0.

``python -m tests.golden`` (``make golden``) writes ``tests/golden.json``; ``tests/test_golden.py``
compares with it. A change of these numbers rewrites the file in a separate commit with the reason.
"""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import lightning
import torch
import transformers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from amif_lightning.cli import main

FILE = Path(__file__).with_suffix(".json")
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
STEPS = 40

#: Scores of a record, without dates, durations and versions.
SCORES = ("scores", "image_to_text", "text_to_image", "zero_shot", "teacher_kl", "pairs")

#: Options that make the shipped experiments small and quiet.
SMALL = [
    "--data.init_args.train_studies=48",
    "--data.init_args.validation_studies=8",
    "--data.init_args.test_studies=16",
    "--data.init_args.image_size=48",
    "--data.init_args.batch_size=8",
    "--data.init_args.eval_batch_size=16",
    "--data.init_args.num_workers=0",
    "--model.init_args.image_size=48",
    "--model.init_args.width=32",
    f"--trainer.max_steps={STEPS}",
    f"--trainer.val_check_interval={STEPS}",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--seed_everything=0",
]


def machine() -> dict[str, str]:
    """Processor, vector instructions and libraries, which determine the last digits."""
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text(encoding="utf-8").splitlines() if info.is_file() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "transformers": transformers.__version__,
    }


def run(folder: Path) -> dict[str, dict[str, Any]]:
    """Train and test every stage.

    Args:
        folder: An empty folder for data and runs.

    Returns:
        Per stage the ``losses`` of its steps, one list per logged name; of a tested one also the
        ``scores`` of its record and of answering the ``answers`` with their log-likelihoods.

    Raises:
        RuntimeError: A command failed; its message is on stderr.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _stages(folder)
    finally:
        torch.set_num_threads(threads)


def _stages(folder: Path) -> dict[str, dict[str, Any]]:
    phantom = EXPERIMENTS / "pretrain" / "phantom.yaml"
    local = EXPERIMENTS / "stage" / "phantom_local.yaml"
    joint = EXPERIMENTS / "stage" / "phantom_joint.yaml"
    answering = EXPERIMENTS / "vqa" / "phantom.yaml"
    after = "--model.init_args.init_from={}/best.ckpt"
    found = {
        "global": _stage(folder, "global", [phantom], []),
        "local": _stage(
            folder, "local", [phantom, local], [after.format(_folder(folder, "global"))], test=True
        ),
        "joint": _stage(folder, "joint", [phantom, joint], []),
        "answering": _stage(
            folder, "answering", [answering], [after.format(_folder(folder, "local"))], test=True
        ),
    }
    lines = (_folder(folder, "answering") / "predictions-test.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    found["answering"]["answers"] = [[row["prediction"], row["log_likelihood"]] for row in rows]
    return found


def _folder(folder: Path, stage: str) -> Path:
    return folder / "runs" / stage / "clean" / "seed0"


def _stage(
    folder: Path, name: str, configs: list[Path], options: list[str], test: bool = False
) -> dict[str, Any]:
    given = [f"--config={path}" for path in configs] + SMALL + options
    given += [f"--data.init_args.root={folder / 'phantom'}", f"--runs={folder / 'runs'}"]
    given += [f"--experiment={name}"]
    _call(["fit", *given])
    found: dict[str, Any] = {"losses": _losses(_folder(folder, name))}
    if test:
        _call(["test", *given, "--ckpt_path=best"])
        record = json.loads((_folder(folder, name) / "result-test.json").read_text("utf-8"))
        found["scores"] = _numbers({key: record[key] for key in SCORES if key in record})
    return found


def _call(words: list[str]) -> None:
    code = main(words)
    if code:
        raise RuntimeError(f"`{' '.join(words)}` ended with {code}.")


def _losses(run_folder: Path) -> dict[str, list[float]]:
    """Logged values of every training step, in float32 as in TensorBoard."""
    log = EventAccumulator(str(next(run_folder.rglob("events.out.*")).parent), {"scalars": 0})
    log.Reload()
    tags = [tag for tag in log.Tags()["scalars"] if tag.startswith("train/")]
    return {tag: [point.value for point in log.Scalars(tag)] for tag in tags}


def _numbers(value: Any, at: str = "") -> dict[str, float]:
    if isinstance(value, dict):
        return {k: v for key in value for k, v in _numbers(value[key], f"{at}/{key}").items()}
    if isinstance(value, list):
        return {
            k: v for n, part in enumerate(value) for k, v in _numbers(part, f"{at}/{n}").items()
        }
    return {at: value} if isinstance(value, (int, float)) and not isinstance(value, bool) else {}


def write() -> None:
    """Run, and write :data:`FILE`."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"machine": machine(), "stages": run(Path(folder))}
    FILE.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(f"{FILE.name} written; explain the change in its commit message.")


if __name__ == "__main__":
    write()
