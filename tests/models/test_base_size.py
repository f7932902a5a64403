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
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.answer_space import AnswerSpace

LIMIT_GB = 16.0
SLOTS = 28996  # Bio_ClinicalBERT


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
def test_the_paper_s_size_learns_and_ranks_in_16_gb(tmp_path: Path) -> None:
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
    assert report["states"] == [2, report["words"] + 1 + (288 // 16) ** 2, 768]
    assert report["without_gradient"] == []
    assert report["loss"] == pytest.approx(report["expected_loss"], rel=0.5)
    assert all(value <= 0 for _, value in report["answers"])
    assert {text for text, _ in report["answers"]} <= set(report["candidates"])
    assert report["peak_gb"] < LIMIT_GB


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
    data = VQARAD(str(folder / "rad"), tokenizer=str(folder / "text"), batch_size=2, num_workers=0)
    task = AMiFVQA(vision=f"local-dir:{folder / 'vision'}", text=str(folder / "text"))
    space = full_space(data.answer_space())
    task.on_load_checkpoint({"answer_space": space.state()})
    batch = next(iter(data.train_dataloader()))
    fused = task(batch)
    loss = -task.decoder.log_likelihood(batch.answer, fused.states, fused.mask).mean()
    loss.backward()
    idle = [n for n, p in task.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    groups = parameter_groups(task.named_parameters(), task.lr, task.lr_factors, task.weight_decay)
    torch.optim.AdamW(groups, lr=task.lr, betas=task.betas).step()
    task.eval()
    with torch.inference_mode():
        answers = task.answers(task(batch), batch)
    # A decoder that knows nothing gives every token of the table the same probability.
    tokens = batch.answer.mask[:, 1:].sum() / len(batch)
    return {
        "states": list(fused.states.shape),
        "words": fused.words,
        "loss": float(loss),
        "expected_loss": float(tokens * torch.log(torch.tensor(float(SLOTS)))),
        "without_gradient": idle,
        "answers": answers,
        "candidates": space.candidates,
        "peak_gb": peak_gb(),
    }


if __name__ == "__main__":
    print(json.dumps(work(Path(sys.argv[1]))))
