"""Baseline: classify pooled frozen image features and a bag of question words, without AMiF.

Run ``python benchmarks/measures/pooled_classifier.py VQAMed2019 FOLDER --split validation``. A
two-layer gated perceptron chooses one of the training answers from the mean of a frozen tower's
patches and the words of the question. The epoch is chosen on the data module's hold-out from the
training images; the scored split is used once per seed. ``--hold-out`` prints the hold-out's
accuracy only, for choices.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import data_modules
from amif_lightning.data.loading.token_cache import FrozenEncoders, TokenTable, image_tokens
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.models.timm_tower import TimmTower
from amif_lightning.models.vision import build_vision

HIDDEN, EPOCHS, BATCH = 512, 30, 128


class GatedPerceptron(nn.Module):
    """Scores of A answers from image features (N, D) and word counts (N, W)."""

    def __init__(self, features: int, words: int, answers: int) -> None:
        super().__init__()
        self.image, self.question = nn.Linear(features, HIDDEN), nn.Linear(words, HIDDEN)
        self.score = nn.Sequential(nn.Dropout(0.3), nn.ReLU(), nn.Linear(HIDDEN, answers))

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        """Return logits (N, A)."""
        scores: Tensor = self.score(self.image(image) * self.question(question).sigmoid())
        return scores


def features_of(
    data: VQADataModule, tower: TimmTower, name: str, folder: Path, rows: Sequence[VQAExample]
) -> dict[str, Tensor]:
    """Return the mean of the patches (D,) of each image, by image key."""

    @torch.no_grad()
    def encode(pixels: Tensor) -> Tensor:
        return tower.encode(pixels)

    encoders = FrozenEncoders(encode, None, f"pooled {name}", "")
    files = {row.image_key: data.file_of(row) for row in rows}
    table: TokenTable[Path] = image_tokens(
        folder, encoders, files.values(), data.image_size, "float32", 0
    )
    return {key: table[path].mean(0) for key, path in files.items()}


def run(data: VQADataModule, seed: int, features: dict[str, Tensor], score: bool) -> float:
    """Train, choose the epoch on the hold-out, and return an accuracy in percent."""
    torch.manual_seed(seed)
    parts = data.splits
    candidates = {answer: n for n, answer in enumerate(parts.candidates)}
    asked = Counter(word for row in parts.train for word in row.question.lower().split())
    words = {word: n for n, word in enumerate(asked)}

    def inputs(rows: Sequence[VQAExample]) -> tuple[Tensor, Tensor]:
        bags = torch.zeros(len(rows), len(words))
        for n, row in enumerate(rows):
            for word in row.question.lower().split():
                if word in words:
                    bags[n, words[word]] = 1
        return torch.stack([features[row.image_key] for row in rows]), bags

    def accuracy(
        rows: Sequence[VQAExample], given: tuple[Tensor, Tensor]
    ) -> tuple[float, dict[str, float]]:
        model.eval()
        with torch.no_grad():
            chosen = model(*given).argmax(1).tolist()
        right: dict[str, list[bool]] = defaultdict(list)
        for row, n in zip(rows, chosen, strict=True):
            right[row.question_type].append(parts.candidates[n] in row.references)
        every = [value for values in right.values() for value in values]
        return 100 * sum(every) / len(every), {
            kind: round(100 * sum(values) / len(values), 1) for kind, values in right.items()
        }

    (x, q), held_out = inputs(parts.train), inputs(parts.validation)
    y = torch.tensor([candidates[row.references[0]] for row in parts.train])
    model = GatedPerceptron(x.shape[1], len(words), len(candidates))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    best, state = -1.0, {}
    for epoch in range(EPOCHS):
        model.train()
        for chosen in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[chosen], q[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
        value, kinds = accuracy(parts.validation, held_out)
        if value > best:
            best, state = value, {k: v.clone() for k, v in model.state_dict().items()}
            print(f"seed {seed} epoch {epoch + 1}: hold-out {value:.1f} {kinds}", flush=True)
    if not score:
        return best
    model.load_state_dict(state)
    value, kinds = accuracy(parts.test, inputs(parts.test))
    print(f"seed {seed}: {data.test_split} {value:.1f} % of {len(parts.test)} {kinds}")
    return value


def main(args: Sequence[str] | None = None) -> int:
    """Print the accuracies and their mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="class of the question set, such as VQARAD")
    parser.add_argument("root")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--vision", default="efficientnet-lite0")
    parser.add_argument("--layer", help="model.init_args.vision_layer; default: the last")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--cache", type=Path, default=Path("runs/tokens"))
    parser.add_argument("--hold-out", action="store_true")
    given = parser.parse_args(args)
    data: VQADataModule = getattr(data_modules, given.data)(
        root=given.root, image_size=given.image_size, test_split=given.split, tokenizer="minilm"
    )
    tower = build_vision(given.vision, "auto", given.image_size, layer=given.layer)
    assert isinstance(tower, TimmTower)
    parts = data.splits
    rows = [*parts.train, *parts.validation, *(() if given.hold_out else parts.test)]
    features = features_of(data, tower.eval(), f"{given.vision} {given.layer}", given.cache, rows)
    values = [run(data, seed, features, not given.hold_out) for seed in given.seeds]
    print(f"mean {sum(values) / len(values):.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
