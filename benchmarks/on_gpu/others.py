"""Ranking, transport, the `gpu` tests, and runs of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.losses.transport import TokenTransport
from amif_lightning.models.decoder import AnswerDecoder
from amif_lightning.models.ranking import CandidateTree, best, rank
from benchmarks import transport
from benchmarks.on_gpu.networks import Scale, candidates
from benchmarks.on_gpu.steps import Figures, median_ms
from benchmarks.ranking import BOS, EOS, tiled

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


@torch.no_grad()
def ranked(scale: Scale, count: int, device: str) -> Figures:
    """Time the ranking of ``count`` candidates for a batch of questions, in mixed precision."""
    size = scale.size
    torch.manual_seed(0)
    found = candidates(count, size.vocabulary)
    width, heads = size.transformer.width, size.transformer.heads
    decoder = AnswerDecoder(
        size.vocabulary, width, scale.fusion_layers, heads, 4 * width, max_length=64
    )
    decoder = decoder.eval().to(device)
    tree = CandidateTree(found, BOS % size.vocabulary, EOS % size.vocabulary).to(device)
    tokens = 1 + (size.image // size.patch) ** 2 + scale.question_tokens
    states = torch.randn(scale.ranked, tokens, width, device=device)
    mask = torch.ones(states.shape[:2], dtype=torch.bool, device=device)

    def plain() -> Tensor:
        rows = zip(states.split(1), mask.split(1), strict=True)
        return torch.cat([tiled(decoder, found, *row, batch=count) for row in rows])

    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        scores, expected = rank(decoder, tree, states, mask), plain()
        first = best(decoder, tree, states, mask).indices[:, 0]
        times = {
            "best": median_ms(lambda: best(decoder, tree, states, mask), device, 1),
            "every candidate": median_ms(lambda: rank(decoder, tree, states, mask), device, 1),
            "plain": median_ms(plain, device, 0),
        }
    made: Figures = {f"{name} ms": ms for name, ms in times.items()}
    made |= {f"{name}, questions a second": 1000 * len(states) / ms for name, ms in times.items()}
    made["times faster than plain"] = times["plain"] / times["best"]
    made["largest difference of a score"] = float((scores - expected).abs().max())
    made["equal first answers"] = f"{int((first == expected.argmax(1)).sum())} of {len(states)}"
    return made


def detached(x: Tensor, y: Tensor) -> Tensor:
    """Compute the cost of the plan of 50 proximal steps, without the plan's gradient."""
    with torch.no_grad():
        plan, _ = transport.ipot(x, y)
    cost = 1 - F.normalize(x, dim=2) @ F.normalize(y, dim=2).transpose(1, 2)
    return (plan * cost).sum((1, 2))


def transported(scale: Scale, device: str) -> Figures:
    """Time forward and backward of one transport of a batch of sets."""
    size = scale.size
    patches = (size.image // size.patch) ** 2
    sizes = transport.Sizes(scale.pairs, size.tokens - 1, patches, size.transformer.width)
    losses: dict[str, transport.Loss] = {
        "GeomLoss": partial(transport.all_valid, TokenTransport()),
        "50 detached steps": detached,
        "50 differentiated steps": transport.released,
    }
    made: Figures = {}
    for name, loss in losses.items():
        made[f"{name} ms"] = 1000 * transport.seconds(loss, sizes, device, 5)
        if device == "cuda":
            made[f"{name} MiB"] = transport.peak_bytes(loss, sizes, device) / 2**20
    return made


def gpu_tests(output: Path, seconds: float) -> Figures:
    """Run the tests that need a GPU; ``output`` gets ``gpu-tests.txt``."""
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "mark.gpu" in path.read_text(encoding="utf-8")
    ]
    words = ["-m", "pytest", "-m", "gpu", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider"]
    started = time.perf_counter()
    text = _python([*words, *files], output / "gpu-tests.txt", seconds, check=False)
    lines = [line for line in text.splitlines() if line.strip()]
    shown = [line for line in lines if line.startswith(("FAILED", "ERROR", "XFAIL", "XPASS"))]
    return {"summary": lines[-1], "s": time.perf_counter() - started} | {
        f"not passed {number}": line for number, line in enumerate(shown)
    }


def _python(words: Sequence[str], log: Path, seconds: float, check: bool = True) -> str:
    """Run a fresh interpreter and write what it prints to ``log``."""
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    text = log.read_text(encoding="utf-8", errors="replace")
    if check and done.returncode:
        last = [line for line in text.splitlines() if line.strip()][-1:]
        raise RuntimeError(f"`{' '.join(words[:3])}` ended with {done.returncode}: {last}")
    return text


#: Options of a stage's run: experiment files, batch size and optimizer steps.
RUNS: dict[str, tuple[list[str], int, int]] = {
    "pre-training": (["pretrain/phantom.yaml", "stage/phantom_joint.yaml"], 64, 1200),
    "answering": (["vqa/phantom.yaml"], 64, 2000),
}


def trained(name: str, work: Path, output: Path, seconds: int, dry: bool) -> Figures:
    """Train and test a stage on phantoms of 224 pixels through the command line.

    ``work`` gets the data and the runs, which answering starts from; ``output`` the printed text.
    Training ends after ``seconds``, or with its learning rate's schedule.
    """
    files, batch, steps = RUNS[name]
    side = 32 if dry else 224
    steps = 4 if dry else steps
    given = [f"--config={EXPERIMENTS / file}" for file in files]
    given += [] if dry else [f"--config={EXPERIMENTS / 'hardware' / 'gpu.yaml'}"]
    given += [
        f"--experiment={name}",
        f"--runs={work / 'runs'}",
        f"--data.init_args.root={work / 'phantom'}",
        f"--data.init_args.image_size={side}",
        f"--model.init_args.image_size={side}",
        f"--data.init_args.batch_size={8 if dry else batch}",
        f"--data.init_args.num_workers={0 if dry else 6}",
        f"--trainer.max_steps={steps}",
        f"--trainer.val_check_interval={max(2, steps // 6)}",
        f"--trainer.max_time=00:00:{seconds // 60:02}:{seconds % 60:02}",
        "--trainer.enable_progress_bar=false",
    ]
    if dry:
        given += [
            "--data.init_args.train_studies=24",
            "--data.init_args.validation_studies=8",
            "--data.init_args.test_studies=8",
            "--model.init_args.width=32",
        ]
    before = work / "runs" / "pre-training" / "clean" / "seed0" / "best.ckpt"
    if name == "answering" and before.is_file():
        given.append(f"--model.init_args.init_from={before}")
    profiler = [
        "--trainer.profiler.class_path=lightning.pytorch.profilers.SimpleProfiler",
        f"--trainer.profiler.init_args.dirpath={output}",
        f"--trainer.profiler.init_args.filename={name}",
    ]
    limit = seconds + 90.0
    words = ["-m", "amif_lightning"]
    _python([*words, "fit", *given, *profiler], output / f"{name}-fit.txt", limit)
    made = profiled((output / f"fit-{name}.txt").read_text(encoding="utf-8"))
    _python([*words, "test", *given, "--ckpt_path=best"], output / f"{name}-test.txt", limit)
    folder = work / "runs" / name / "clean" / "seed0"
    return made | scores(folder)


def profiled(text: str) -> Figures:
    """Compute steps a second and the loader's share from Lightning's profile of a fit."""
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) >= 6 and cells[3].isdigit() and cells[1] != "Total":
            rows[cells[1]] = int(cells[3]), float(cells[4])
    count, computing = rows["run_training_batch"]
    waiting = rows["[_TrainingEpochLoop].train_dataloader_next"][1]
    copying = rows["[Strategy]SingleDeviceStrategy.batch_to_device"][1]
    return {
        "steps": count,
        "steps a second": count / (computing + waiting + copying),
        "steps a second with validation": count / rows["run_training_epoch"][1],
        "waiting for the loader %": 100 * waiting / (computing + waiting + copying),
    }


def scores(folder: Path) -> Figures:
    """Read the best validation score and the main test scores of a run."""
    state = torch.load(folder / "last.ckpt", map_location="cpu", weights_only=True)
    (best_score,) = {
        float(one["best_model_score"])
        for one in state["callbacks"].values()
        if one.get("best_model_score") is not None
    }
    record = json.loads((folder / "result-test.json").read_text(encoding="utf-8"))
    made: Figures = {"best validation score": best_score}
    if "scores" in record:
        tables = {"test": record["scores"], "shuffled images": record["control"]}
        tables["question-only baseline"] = record["baselines"]["question_only"]
        for name, table in tables.items():
            made[f"{name} %"] = 100 * table["overall"]["correct"] / table["overall"]["count"]
        return made
    made["test precision@5"] = record["mean"]["precision"]["5"]
    made["by chance"] = record["chance"]["precision"]["5"]
    return made | {
        name: record["pairs"][name] for name in ("matching_auc_hard", "transport_margin")
    }
