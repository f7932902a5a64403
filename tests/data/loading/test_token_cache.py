"""Token caches: equal to direct encoding, resumable, and never those of other weights or images."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from amif_lightning.batch import Tokens
from amif_lightning.data.loading import token_cache
from amif_lightning.data.loading.token_cache import (
    CacheType,
    FrozenEncoders,
    image_tokens,
    padded_states,
    text_tokens,
)
from amif_lightning.data.preprocessing.transforms import ImageTransform, read_square
from amif_lightning.errors import UserError

SIZE, WIDTH = 16, 5
TEXTS = [(2, 7, 3), (2, 3), (2, 9, 11, 3), (2, 8, 3)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    numbers = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in range(70)]
    for path in paths:
        Image.fromarray(numbers.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
    return paths


class Encoders:
    """Small random encoders that count their calls."""

    def __init__(self, fail_after: int = 10**9) -> None:
        torch.manual_seed(0)
        self.patches = torch.nn.Conv2d(3, WIDTH, 4, 4).requires_grad_(False)
        self.table = torch.nn.Embedding(20, WIDTH).requires_grad_(False)
        self.images, self.fail_after = 0, fail_after

    def image(self, pixels: Tensor) -> Tensor:
        self.images += len(pixels)
        if self.images > self.fail_after:
            raise KeyboardInterrupt
        tokens: Tensor = self.patches(pixels).flatten(2).transpose(1, 2)
        return tokens

    def text(self, tokens: Tokens) -> Tensor:
        states: Tensor = self.table(tokens.ids)
        return states

    def frozen(self) -> FrozenEncoders:
        return FrozenEncoders(self.image, self.text, "image weights", "text weights")


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("float16", 2e-3)])
def test_tokens_equal_the_encoders(
    tmp_path: Path, files: list[Path], dtype: CacheType, error: float
) -> None:
    given, transform = Encoders(), ImageTransform(SIZE)
    table = image_tokens(tmp_path / "cache", given.frozen(), files, SIZE, dtype, 0)
    table = pickle.loads(pickle.dumps(table))  # as for a spawned worker
    for path in files[::7]:
        tokens = given.image(transform(read_square(path, SIZE))[None])[0]
        assert table[path].dtype == getattr(torch, dtype)
        torch.testing.assert_close(table[path].float(), tokens, rtol=0, atol=error)
    states = text_tokens(tmp_path / "cache", given.frozen(), TEXTS, 0, dtype)
    padded = padded_states(states, TEXTS[:2])
    assert padded.shape == (2, 3, WIDTH)
    assert (padded[1, 2] == 0).all()
    torch.testing.assert_close(
        padded[0].float(), given.table(torch.tensor(TEXTS[0])), rtol=0, atol=error
    )


def test_an_interrupted_computation_continues(tmp_path: Path, files: list[Path]) -> None:
    whole = image_tokens(tmp_path / "whole", Encoders().frozen(), files, SIZE, "float32", 0)
    stopped = Encoders(fail_after=40)  # in the second batch
    with pytest.raises(KeyboardInterrupt):
        image_tokens(tmp_path / "cache", stopped.frozen(), files, SIZE, "float32", 0)
    (partial,) = (tmp_path / "cache").glob("*.partial")
    with partial.open("ab") as stream:
        stream.write(b"half a token")
    again = Encoders()
    table = image_tokens(tmp_path / "cache", again.frozen(), files, SIZE, "float32", 0)
    assert again.images == 1 + len(files) - token_cache.BATCH  # one for the shape
    assert table.path.read_bytes() == whole.path.read_bytes()
    assert not partial.exists()


def test_a_finished_cache_is_read(tmp_path: Path, files: list[Path]) -> None:
    image_tokens(tmp_path, Encoders().frozen(), files, SIZE, "float16", 0)
    again = Encoders()
    image_tokens(tmp_path, again.frozen(), reversed(files), SIZE, "float16", 0)
    assert again.images == 1


def other_weights(files: list[Path], given: FrozenEncoders) -> FrozenEncoders:
    return replace(given, image_name="other weights")


def other_image(files: list[Path], given: FrozenEncoders) -> FrozenEncoders:
    shutil.copy(files[1], files[0])
    return given


@pytest.mark.parametrize("change", [other_weights, other_image])
def test_other_weights_or_images_have_another_file(
    tmp_path: Path,
    files: list[Path],
    change: Callable[[list[Path], FrozenEncoders], FrozenEncoders],
) -> None:
    before = image_tokens(tmp_path, Encoders().frozen(), files, SIZE, "float16", 0)
    given = change(files, Encoders().frozen())
    after = image_tokens(tmp_path, given, files, SIZE, "float16", 0)
    assert after.path != before.path
    assert before.path.exists()


def test_bad_caches_are_refused(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, given = tmp_path / "cache", Encoders().frozen()
    table = image_tokens(cache, given, files, SIZE, "float16", 0)
    table.path.write_bytes(table.path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"bytes instead of 11200: delete it"):
        image_tokens(cache, given, files, SIZE, "float16", 0)
    with pytest.raises(UserError, match=r"gone.png does not exist"):
        image_tokens(cache, given, [*files, tmp_path / "gone.png"], SIZE, "float16", 0)
    with pytest.raises(UserError, match=r"cannot be written .*--data.init_args.token_cache"):
        image_tokens(files[0], given, files, SIZE, "float16", 0)
    large = replace(given, image=lambda pixels: torch.full((len(pixels), 2, 3), 1e6))
    with pytest.raises(UserError, match=r"not finite in float16: give .*cache_dtype float32"):
        image_tokens(tmp_path / "large", large, files, SIZE, "float16", 0)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"needs 0.0 MB and .* has 0.0 MB free: make room"):
        image_tokens(tmp_path / "full", given, files, SIZE, "float32", 0)
