"""The paper's size from folders in the hub's layouts: it builds, learns and ranks in 16 GB.

Started as a script with a folder, this file does the work of one process, so that the measured peak
is that of the model alone.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.answer_space import AnswerSpace

LIMIT_GB = 16.0
SLOTS, WIDTH, LAYERS = 28996, 768, 12  # Bio_ClinicalBERT
LAYER = 12 * WIDTH**2 + 13 * WIDTH  # weights and biases of a transformer layer


def write_vision(folder: Path) -> None:
    """Writes ViT-B-16 with random weights at 224 px, as open_clip stores a model."""
    import open_clip

    config = open_clip.get_model_config("ViT-B-16")
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    model = open_clip.create_model("ViT-B-16")
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")


def write_text(folder: Path) -> None:
    """Writes a BERT and a tokenizer of Bio_ClinicalBERT's sizes, as transformers stores them."""
    from tokenizers import Tokenizer as FastTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from amif_lightning.data.preprocessing.tokenizer import Tokenizer

    BertModel(BertConfig(vocab_size=SLOTS)).save_pretrained(folder)
    table = Tokenizer.from_texts(["is there a fracture in the left lung", "yes", "no"], SLOTS)
    PreTrainedTokenizerFast(
        tokenizer_object=FastTokenizer.from_str(table.to_json()),
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    ).save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_paper_s_size_learns_and_ranks_in_16_gb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.fakes import write_vqa_rad

    write_vision(tmp_path / "vision")
    write_text(tmp_path / "text")
    write_vqa_rad(tmp_path / "rad", layouts=["osf"])
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print("\n" + table(report))
    parts = report["parts"]
    # A layer of the co-attention has a second attention and a third norm; the decoder's too.
    attention, norm = 4 * WIDTH**2 + 4 * WIDTH, 2 * WIDTH
    patches = (288 // 16) ** 2
    assert report["states"] == [2, report["words"] + 1 + patches, WIDTH]
    assert parts["vision"] == (3 * 16**2 + 1 + patches + 1) * WIDTH + 2 * norm + LAYERS * LAYER
    embeddings = (SLOTS + 512 + 2) * WIDTH + norm
    assert parts["text"] == embeddings + LAYERS * LAYER
    linear = WIDTH**2 + WIDTH
    encoded = 2 * (linear + WIDTH + norm)  # projection, modality embedding, norm
    assert parts["fusion"] == encoded + 2 * 6 * (LAYER + attention + norm)
    feed_forward = 8 * WIDTH**2 + 5 * WIDTH
    assert parts["knowledge"] == 2 * attention + 2 * feed_forward + linear + 4 * norm
    head = linear + norm + SLOTS  # output transform and bias; the matrix is the word embeddings
    positions = 512 - 64
    assert parts["decoder"] == (
        embeddings - positions * WIDTH + 6 * (LAYER + attention + norm) + head
    )
    assert report["without_gradient"] == []
    assert report["loss"] == pytest.approx(report["expected_loss"], rel=0.5)
    assert all(value <= 0 for _, value in report["answers"])
    assert {text for text, _ in report["answers"]} <= set(report["candidates"])
    assert report["peak_gb"]["ranking"] < LIMIT_GB


def table(report: dict[str, Any]) -> str:
    """Parameters per part and peak memory after each step."""
    parts: dict[str, int] = report["parts"]
    rows = [f"{name:<12}{count / 1e6:>10.1f} M" for name, count in parts.items()]
    rows.append(f"{'all':<12}{sum(parts.values()) / 1e6:>10.1f} M")
    rows += [
        f"peak after {name:<12}{gb:>6.2f} GB {report['seconds'][name]:>7.1f} s"
        for name, gb in report["peak_gb"].items()
    ]
    return "\n".join(rows)


def peak_gb() -> float:
    """Most memory this process ever held; `ru_maxrss` would count the parent's before `exec`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**20
    raise OSError("no VmHWM in /proc/self/status")


def full_space(space: AnswerSpace) -> AnswerSpace:
    """The answer space with a vocabulary and candidates in real data sets' numbers."""
    draw = random.Random(0)

    def ids(most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(200, SLOTS) for _ in range(draw.randint(1, most)))

    entries, candidates = 3000 - len(space.vocabulary), 500 - len(space.candidates)
    return replace(
        space,
        vocabulary=(*space.vocabulary, *(f"entry {i}" for i in range(entries))),
        vocabulary_ids=(*space.vocabulary_ids, *(ids(3) for _ in range(entries))),
        candidates=(*space.candidates, *(f"answer {i}" for i in range(candidates))),
        candidate_ids=(*space.candidate_ids, *(ids(4) for _ in range(candidates))),
    )


def work(folder: Path) -> dict[str, Any]:
    """Build, one training step at batch 2, one ranking; what came of it as plain types."""
    from amif_lightning.tasks.optimization import parameter_groups
    from amif_lightning.tasks.vqa import AMiFVQA
    from data_modules.vqa.vqa_rad import VQARAD

    torch.manual_seed(0)
    peaks: dict[str, float] = {}
    seconds: dict[str, float] = {}
    started = time.monotonic()

    def note(step: str) -> None:
        nonlocal started
        peaks[step], seconds[step] = peak_gb(), time.monotonic() - started
        started = time.monotonic()

    data = VQARAD(str(folder / "rad"), tokenizer=str(folder / "text"), batch_size=2, num_workers=0)
    task = AMiFVQA(vision=f"local-dir:{folder / 'vision'}", text=str(folder / "text"))
    space = full_space(data.answer_space())
    task.on_load_checkpoint({"answer_space": space.state()})
    note("building")
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in task.named_children()
    }
    batch = next(iter(data.train_dataloader()))
    fused = task(batch)
    loss = -task.answer_log_likelihood(fused, batch).mean()
    note("forward")
    loss.backward()
    idle = [n for n, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    note("backward")
    groups = parameter_groups(task.named_parameters(), task.weight_decay)
    torch.optim.AdamW(groups, lr=task.lr, betas=task.betas).step()
    note("AdamW")
    task.eval()
    with torch.inference_mode():
        answers = task.answers(task(batch), batch)
    note("ranking")
    # A decoder that knows nothing gives every token of the table the same probability.
    tokens = batch.answer.mask[:, 1:].sum() / len(batch)
    return {
        "parts": {name: count for name, count in parts.items() if count},
        "states": list(fused.states.shape),
        "words": fused.words,
        "loss": float(loss),
        "expected_loss": float(tokens * torch.log(torch.tensor(float(SLOTS)))),
        "without_gradient": idle,
        "answers": answers,
        "candidates": space.candidates,
        "peak_gb": peaks,
        "seconds": seconds,
    }


if __name__ == "__main__":
    print(json.dumps(work(Path(sys.argv[1]))))
