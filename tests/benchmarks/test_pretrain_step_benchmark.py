"""The benchmark of the pre-training step at a tiny size, and its arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch

from amif_lightning.data.teacher.networks import OpenClipTeacher
from benchmarks import pretrain_step
from benchmarks.pretrain_step import Result, Size, Transformer


@pytest.fixture
def tiny(tmp_path: Path) -> Size:
    config = {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16
        },
        "text_cfg": {"context_length": 8, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1},
    }  # fmt: skip
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-of-step-benchmark.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "configs")
    return Size(
        Transformer(1, 32, 2),
        image=32,
        teacher_image=160,
        tokens=12,
        vocabulary=60,
        vision="tiny-of-step-benchmark",
        teacher_vision="test_vit",
    )


def test_multiplications_are_the_published_ones() -> None:
    assert Transformer().multiplications(197, 3 * 224**2) == pytest.approx(17.58e9, rel=0.01)
    # Sequences of 128 tokens are given as 22.5 billion operations: a product and a sum each.
    assert 2 * Transformer().multiplications(128) == pytest.approx(22.5e9, rel=0.01)


def test_only_the_online_step_runs_the_teacher(
    tiny: Size, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"image": 0, "text": 0}
    image, text = OpenClipTeacher.image, OpenClipTeacher.text

    def counted_image(self: OpenClipTeacher, pixels: torch.Tensor) -> torch.Tensor:
        calls["image"] += 1
        return image(self, pixels)

    def counted_text(self: OpenClipTeacher, texts: list[str]) -> torch.Tensor:
        calls["text"] += 1
        return text(self, texts)

    monkeypatch.setattr(OpenClipTeacher, "image", counted_image)
    monkeypatch.setattr(OpenClipTeacher, "text", counted_text)
    result = pretrain_step.measure(tiny, 3, 2, "cpu", tmp_path / "work")
    # Once for the file, once for the comparison, once to warm up; then in two online steps
    # and twice alone. Cached steps add none.
    assert calls == {"image": 7, "text": 7}
    assert result.difference <= 1e-3
    assert min(result.cached, result.online, result.teacher) > 0


def test_a_difference_stops_the_benchmark(
    tiny: Size, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pretrain_step.Embeddings.image
    monkeypatch.setattr(
        pretrain_step.Embeddings, "image", lambda self, ids: found(self, ids).roll(1, 1)
    )
    with pytest.raises(RuntimeError, match="differ by"):
        pretrain_step.measure(tiny, 3, 1, "cpu", tmp_path / "work")


def test_the_last_line_is_the_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def measured(size: Size, batch: int, *args: object) -> Result:
        asked.append(batch)
        return Result(cached=4.0, online=5.0, teacher=1.0, difference=0.0)

    monkeypatch.setattr(pretrain_step, "measure", measured)
    pretrain_step.main(["--threads", str(torch.get_num_threads())])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "ratio: 1.25"
    assert "arithmetic bound" in printed[-2]
    assert asked == [4]
