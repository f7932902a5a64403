"""Time of a pre-training step with cached teacher embeddings and with an online teacher.

Run ``python benchmarks/pretrain_step.py [--device cuda] [--batch 64] [--repeats 3]``. Sizes are the
paper's: ViT-B/16 for two views of 288 pixels and BERT-base for 120 tokens are trained (stage
``global``, soft labels, AdamW). The online teacher has BiomedCLIP's shape and encodes the same
images at 224 pixels and the same texts in every step. Weights and inputs are random, in float32.

- cached: look-up in an embeddings file, as in the loaders, then the step;
- online: the teacher's forward passes, then the same step. Decoding and augmentation are not timed,
  and neither is the second version of each image that an online teacher needs.

Both must give the same loss. The last two lines are the ratios online / cached of multiplications
and of median times. The second can exceed the first, because the optimizer's step, the teacher's
weights in the caches and smaller matrices affect time only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertTokenizer

from amif_lightning.batch import StudyBatch, TeacherFeatures, Tokens
from amif_lightning.data.teacher.cache import Embeddings
from amif_lightning.data.teacher.networks import OpenClipTeacher
from amif_lightning.data.teacher.store import About, write_embeddings
from amif_lightning.tasks.pretrain import AMiFPretrain

CPU_BATCH, GPU_BATCH = 4, 64


@dataclass(frozen=True)
class Transformer:
    """Sizes of an encoder; its feed-forward layers are 4 times as wide."""

    layers: int = 12
    width: int = 768
    heads: int = 12

    def multiplications(self, tokens: int, pixels: int = 0) -> int:
        """Count the multiplications of one sample's forward pass.

        Per layer and token, these are 4 W x W matrices of attention, 8 of the feed-forward layer,
        and two products with all tokens. ``pixels`` counts the values of all patches, each
        projected to the width; 0 for texts.
        """
        layer = tokens * (12 * self.width**2 + 2 * tokens * self.width)
        return self.layers * layer + pixels * self.width


@dataclass(frozen=True)
class Size:
    """The paper's sizes; sides in pixels."""

    transformer: Transformer = field(default_factory=Transformer)  # all four encoders
    image: int = 288  # side of the student's images
    teacher_image: int = 224
    patch: int = 16
    tokens: int = 120  # of a text
    vocabulary: int = 28996
    vision: str = "ViT-B-16"  # open_clip name of the student's image tower
    teacher_vision: str = "vit_base_patch16_224"  # timm name of the teacher's

    def sample(self, side: int) -> int:
        """Count the multiplications of a forward pass of two images of this side and a text."""
        patches = (side // self.patch) ** 2
        image = self.transformer.multiplications(patches + 1, 3 * side**2)
        return 2 * image + self.transformer.multiplications(self.tokens)

    def bound(self) -> float:
        """Return the ratio of multiplications online / cached; a backward pass counts twice."""
        return 1 + self.sample(self.teacher_image) / (3 * self.sample(self.image))


@dataclass(frozen=True)
class Result:
    """Seconds of one step of each kind, and of the teacher alone (medians)."""

    cached: float
    online: float
    teacher: float
    difference: float

    @property
    def ratio(self) -> float:
        """Return online over cached."""
        return self.online / self.cached


class Student(AMiFPretrain):
    """The task without a trainer and its logging."""

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing."""


def write_bert(folder: Path, size: Size) -> None:
    """Write configuration and tokenizer of a BERT with the words ``word5``, ``word6`` ..."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"word{number}" for number in range(len(words), size.vocabulary)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    given = size.transformer
    BertConfig(
        vocab_size=size.vocabulary,
        hidden_size=given.width,
        num_hidden_layers=given.layers,
        num_attention_heads=given.heads,
        intermediate_size=4 * given.width,
    ).save_pretrained(folder)


def write_teacher(folder: Path, size: Size) -> OpenClipTeacher:
    """Write and load a teacher of BiomedCLIP's shape with random weights."""
    import open_clip

    write_bert(folder, size)
    config = {
        "embed_dim": 512,
        "vision_cfg": {
            "timm_model_name": size.teacher_vision,
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": size.teacher_image,
        },
        "text_cfg": {
            "hf_model_name": str(folder),
            "hf_tokenizer_name": str(folder),
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 256,
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    named = folder / "configs"
    named.mkdir()
    (named / f"{folder.name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(named)
    model = open_clip.create_model(folder.name, pretrained_text=False)
    # Half precision halves the file; loading makes it float32 again.
    state = {name: values.half() for name, values in model.state_dict().items()}
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    teacher = OpenClipTeacher(f"local-dir:{folder}")
    teacher.max_tokens = size.tokens
    return teacher


def make_batch(size: Size, batch: int) -> StudyBatch:
    """Create studies of random pixels and words."""
    words = torch.randint(5, size.vocabulary, (batch, size.tokens - 2))
    ids = torch.cat([torch.full((batch, 1), 2), words, torch.full((batch, 1), 3)], dim=1)
    numbers = torch.arange(batch)
    return StudyBatch(
        first=torch.randn(batch, 3, size.image, size.image),
        second=torch.randn(batch, 3, size.image, size.image),
        text=Tokens(ids, torch.ones_like(ids, dtype=torch.bool)),
        study=numbers,
        text_id=numbers,
        relevance=numbers,
        position=numbers,
        study_ids=[f"s{number}" for number in range(batch)],
        first_ids=[f"a{number}" for number in range(batch)],
        second_ids=[f"b{number}" for number in range(batch)],
        texts=[" ".join(f"word{word}" for word in row) for row in words.tolist()],
    )


def timed(work: Callable[[], object], device: str) -> float:
    """Measure the seconds of one call."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(size: Size, batch: int, repeats: int, device: str, folder: Path) -> Result:
    """Time ``repeats`` steps of each kind in turn, after one that is not counted.

    ``batch`` is the number of studies of a step, ``device`` is ``cpu`` or ``cuda``; the teacher and
    its embeddings are written to ``folder``. A RuntimeError is raised if the kinds differ in their
    loss.
    """
    torch.manual_seed(0)
    teacher = write_teacher(folder / "benchmark_teacher", size).to(device)
    write_bert(folder / "student", size)
    given = size.transformer
    student = Student(
        vision=size.vision,
        vision_pretrained=None,
        text=str(folder / "student"),
        text_pretrained=False,
        image_size=size.image,
        width=given.width,
        heads=given.heads,
        stage="global",
        labels="soft",
    ).to(device)
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    data = make_batch(size, batch)
    images = torch.randn(2 * batch, 3, size.teacher_image, size.teacher_image)
    image, text = teacher.image(images), teacher.text(data.texts)
    about = About(
        (*data.first_ids, *data.second_ids), tuple(data.study_ids), teacher.scale, "random", ""
    )
    write_embeddings(folder / "embeddings.safetensors", image, text, about)
    stored = Embeddings.read(folder / "embeddings.safetensors")
    data, images = data.to(device), images.to(device)

    def look_up() -> TeacherFeatures:
        rows = (stored.image(data.first_ids), stored.image(data.second_ids))
        return TeacherFeatures(*rows, stored.text(data.study_ids), stored.scale).to(device)

    def ask() -> TeacherFeatures:
        first, second = teacher.image(images).chunk(2)
        return TeacherFeatures(first, second, teacher.text(data.texts), teacher.scale)

    def step(features: Callable[[], TeacherFeatures]) -> None:
        data.teacher = features()
        optimizer.zero_grad()
        student.training_step(data, 0).backward()
        optimizer.step()

    losses = []
    for features in (look_up, ask):
        data.teacher = features()
        torch.manual_seed(1)  # equal dropout
        with torch.no_grad():
            losses.append(float(student.training_step(data, 0)))
    difference = abs(losses[0] - losses[1])
    if not difference <= 1e-3:
        raise RuntimeError(f"cached and online losses differ by {difference:.2g}")
    for features in (look_up, ask):
        step(features)
    seconds: dict[str, list[float]] = {"cached": [], "online": [], "teacher": []}
    # In turn, so that other load on the machine affects all equally.
    for _ in range(repeats):
        seconds["cached"].append(timed(lambda: step(look_up), device))
        seconds["online"].append(timed(lambda: step(ask), device))
        seconds["teacher"].append(timed(ask, device))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return Result(**medians, difference=difference)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--batch", type=int, help=f"studies in a step: {CPU_BATCH} on a CPU, {GPU_BATCH} on a GPU"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    batch = given.batch or (GPU_BATCH if given.device == "cuda" else CPU_BATCH)
    size = Size()
    where = torch.cuda.get_device_name() if given.device == "cuda" else f"{given.threads} threads"
    print(
        f"batch {batch}, {size.image} px and {size.tokens} tokens, teacher {size.teacher_image} px,"
        f" float32, {where}, torch {torch.__version__}, median of {given.repeats}"
    )
    with tempfile.TemporaryDirectory() as folder:
        result = measure(size, batch, given.repeats, given.device, Path(folder))
    print(f"cached step      {result.cached:9.3f} s")
    print(f"online step      {result.online:9.3f} s")
    print(f"teacher alone    {result.teacher:9.3f} s")
    print(f"losses differ by {result.difference:9.1e}")
    print(f"arithmetic bound {size.bound():9.2f}")
    print(f"ratio: {result.ratio:.2f}")


if __name__ == "__main__":
    main()
