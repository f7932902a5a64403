"""Both stages at the paper's sizes with random weights, and random batches for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import StudyBatch, TeacherFeatures, Tokens, VQABatch, pad_tokens
from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from amif_lightning.tasks.optimization import parameter_groups
from benchmarks import ranking
from benchmarks.pretrain_step import Size, Transformer, make_batch, write_bert

PART = "part:"  # prefix of the names of profiled ranges
_TEACHER_SCALE = 4.45  # BiomedCLIP's, a natural logarithm


@dataclass(frozen=True)
class Scale:
    """Sizes of all measurements; the defaults are the paper's."""

    size: Size = field(default_factory=Size)
    fusion_layers: int = 6
    question_tokens: int = 30
    vocabulary: int = 3000  # entries
    batches: tuple[int, ...] = (16, 32, 64, 128, 256)
    middle: int = 64  # batch of the profile and of the variants
    small: int = 4  # batch of the comparison with the CPU
    candidates: tuple[int, ...] = (458, 1540)
    ranked: int = 16  # questions ranked together
    pairs: int = 64  # of transported sets
    square: int = 8192  # side of the matrices whose product gives the peak


def tiny(folder: Path) -> Scale:
    """Return sizes for a dry run on a CPU; ``folder`` gets the image tower's configuration."""
    import open_clip

    config = {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 16,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1},
    }
    named = folder / "configs"
    named.mkdir(parents=True, exist_ok=True)
    (named / "dry-run.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(named)
    size = Size(Transformer(1, 32, 2), image=32, tokens=12, vocabulary=3000, vision="dry-run")
    return Scale(size, 1, 6, 20, (2,), 3, 2, (20,), 2, 2, 64)


class Pretraining(AMiFPretrain):
    """The task without a trainer; keeps the last logged values."""

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the value."""
        self.__dict__.setdefault("kept", {})[name] = value


class Answering(AMiFVQA):
    """The same for questions."""

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the value."""
        self.__dict__.setdefault("kept", {})[name] = value


@dataclass
class Stage:
    """A task, its optimizer and its batches on a device."""

    name: str
    task: Pretraining | Answering
    make: Callable[[int], StudyBatch | VQABatch]
    parts: dict[str, list[nn.Module]]  # modules whose time is reported together
    device: str = "cpu"
    autocast: bool = False
    fused: bool | None = None  # of AdamW; None: torch's choice
    optimizer: torch.optim.Optimizer | None = None

    def batch(self, count: int) -> Any:
        """Create a batch, in page-locked memory if the device is a GPU."""
        made = self.make(count)
        return made.pin_memory() if self.device == "cuda" else made

    def reset(self) -> None:
        """Build the optimizer of the task's `configure_optimizers`, without its schedule."""
        groups: Any = parameter_groups(self.task.named_parameters(), 1e-6, {"heads": 1.0}, 0.05)
        rates: dict[str, Any] = {"lr": 1e-6, "betas": (0.9, 0.98), "fused": self.fused}
        self.optimizer = torch.optim.AdamW(groups, **rates)

    def loss(self, batch: Any) -> Tensor:
        """Compute the training loss of a batch on the device, as the Trainer does."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            return self.task.training_step(batch, 0)

    def step(self, batch: Any) -> Tensor:
        """Copy the batch, train on it and return the loss."""
        assert self.optimizer is not None
        with record_function(f"{PART}copy to the device"):
            batch = batch.to(self.device, non_blocking=True)
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        with record_function(f"{PART}optimizer"):
            self.optimizer.step()
        self.task.on_train_batch_end(None, batch, 0)
        return loss.detach()

    @torch.no_grad()
    def losses(self, batch: Any) -> dict[str, float]:
        """Compute every logged loss of a batch without dropout."""
        with without_dropout(self.task):
            self.loss(batch.to(self.device))
        kept: dict[str, Any] = self.task.__dict__["kept"]
        return {name: float(value) for name, value in kept.items() if name.endswith("loss")}


@contextmanager
def without_dropout(task: nn.Module, attention_only: bool = False) -> Iterator[None]:
    """Set dropout to 0, everywhere or in attention weights only."""
    changed: list[tuple[nn.Module, str, float]] = []
    for name, module in task.named_modules():
        # transformers names the attention itself `self`.
        inside = name.endswith("self.dropout")
        if isinstance(module, nn.Dropout) and (inside or not attention_only):
            changed.append((module, "p", module.p))
        elif isinstance(module, nn.MultiheadAttention):
            changed.append((module, "dropout", module.dropout))
    for module, attribute, _ in changed:
        setattr(module, attribute, 0.0)
    try:
        yield
    finally:
        for module, attribute, value in changed:
            setattr(module, attribute, value)


def _options(scale: Scale, folder: Path) -> dict[str, Any]:
    write_bert(folder / "bert", scale.size)
    return {
        "vision": scale.size.vision,
        "vision_pretrained": None,
        "text": str(folder / "bert"),
        "text_pretrained": False,
        "image_size": scale.size.image,
        "width": scale.size.transformer.width,
        "heads": scale.size.transformer.heads,
        "fusion_layers": scale.fusion_layers,
    }


def pretraining(scale: Scale, folder: Path) -> Stage:
    """Build the joint stage with soft labels, transport and hard negatives, on the CPU."""
    torch.manual_seed(0)
    task = Pretraining(**_options(scale, folder), stage="joint", labels="soft", negatives="hard")

    def make(count: int) -> StudyBatch:
        torch.manual_seed(count)
        made = make_batch(scale.size, count)
        # Reports of half to all of the tokens: padding decides which attention kernels run.
        lengths = torch.randint(scale.size.tokens // 2, scale.size.tokens + 1, (count, 1))
        lengths[0] = scale.size.tokens
        mask = torch.arange(scale.size.tokens) < lengths
        first, second, report = F.normalize(torch.randn(3, count, 512), dim=2)
        return replace(
            made,
            text=Tokens(made.text.ids.where(mask, 0), mask),
            teacher=TeacherFeatures(first, second, report, _TEACHER_SCALE),
            second_frontal=torch.rand(count) < 0.3,
        )

    parts: dict[str, list[nn.Module]] = {
        "encoders": [task.vision, task.text],
        "fusion": [task.fusion],
        "alignment": [task.alignment],
        "transport": [task.transport],
        "matching": [task.matching_head],
    }
    return Stage("pre-training", task, make, parts)


def answering(scale: Scale, folder: Path) -> Stage:
    """Build the answering stage with a vocabulary and candidates, on the CPU."""
    torch.manual_seed(0)
    task = Answering(**_options(scale, folder))
    vocabulary = scale.size.vocabulary
    found = candidates(min(458, scale.candidates[0]), vocabulary)
    entries = torch.randint(5, vocabulary, (scale.vocabulary, 2)).tolist()
    space = AnswerSpace(
        protocol="clean",
        candidates=tuple(f"answer {number}" for number in range(len(found))),
        candidate_ids=tuple(map(tuple, found)),
        vocabulary=tuple(f"word {number}" for number in range(len(entries))),
        vocabulary_ids=tuple(map(tuple, entries)),
        tokenizer="",
        cls_id=2,
        sep_id=3,
        pad_id=0,
        table_size=vocabulary,
    )
    task.on_load_checkpoint({"answer_space": space.state()})
    task.trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )

    def make(count: int) -> VQABatch:
        torch.manual_seed(count)
        lengths = torch.randint(3, scale.question_tokens - 1, (count,))
        lengths[0] = scale.question_tokens - 2
        words = [torch.randint(5, vocabulary, (int(n),)).tolist() for n in lengths]
        answers = [found[number % len(found)] for number in range(count)]
        return VQABatch(
            images=torch.randn(count, 3, scale.size.image, scale.size.image),
            image_index=torch.arange(count),
            question=pad_tokens([[2, *row, 3] for row in words], 0),
            answer=pad_tokens([[2, *row, 3] for row in answers], 0),
            strata=torch.zeros(count, 1, dtype=torch.bool),
        )

    assert task.knowledge is not None
    assert task.vocabulary is not None
    parts: dict[str, list[nn.Module]] = {
        "encoders": [task.vision, task.text],
        "fusion": [task.fusion],
        "vocabulary": [task.vocabulary, task.knowledge],
        "decoder": [task.decoder],
    }
    return Stage("answering", task, make, parts)


def candidates(count: int, vocabulary: int) -> list[list[int]]:
    """Return the token ids of VQA-RAD's answers; beyond those, pairs of them joined."""
    text = ranking.CANDIDATES.read_text(encoding="utf-8")
    stored = json.loads(text)["candidates"]
    # Ids below 5 are special tokens.
    known = [[5 + token % (vocabulary - 5) for token in ids] for ids in stored]
    made = {tuple(ids): None for ids in known[:count]}
    generator = torch.Generator().manual_seed(0)
    while len(made) < count:
        first, second = torch.randint(len(known), (2,), generator=generator).tolist()
        made[(*known[first], *known[second])] = None
    return [list(ids) for ids in made]
