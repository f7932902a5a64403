"""The ranking benchmark at a tiny size: both sides agree and the output can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import ranking

TINY = ranking.Size(vocab=2000, width=16, layers=1, heads=2, intermediate=32, states=9)


@pytest.fixture
def candidates() -> list[list[int]]:
    loaded = json.loads(ranking.CANDIDATES.read_text(encoding="utf-8"))
    assert "Made by" in loaded["about"]
    return loaded["candidates"]


def test_the_candidate_file_holds_ids_only(candidates: list[list[int]]) -> None:
    assert len(candidates) == 458
    assert len({tuple(ids) for ids in candidates}) == 458
    ids = [token for candidate in candidates for token in candidate]
    assert all(type(token) is int for token in ids)
    assert min(ids) == ranking.FIRST_ID
    assert max(ids) < ranking.Size().vocab
    assert set(json.loads(ranking.CANDIDATES.read_text(encoding="utf-8"))) == {
        "about",
        "candidates",
    }


def test_both_sides_agree_whatever_the_plain_batch(
    candidates: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ranking.measure(candidates[:60], TINY, repeats=1)
    assert result.difference <= 1e-4
    assert result.batch == 60
    assert result.nodes < sum(len(candidate) for candidate in candidates[:60]) + 1
    monkeypatch.setattr(ranking, "PLAIN_BYTES", 4 * 10**6)
    small = ranking.measure(candidates[:60], TINY, repeats=1)
    assert small.batch < 60


def test_a_difference_stops_the_benchmark(
    candidates: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ranking.rank
    monkeypatch.setattr(ranking, "rank", lambda *args: right(*args) + 1e-3)
    with pytest.raises(RuntimeError, match="differ by"):
        ranking.measure(candidates[:10], TINY, repeats=1)


def test_the_plain_batch_fits_the_memory() -> None:
    size = ranking.Size()
    batch = ranking.plain_batch(size, longest=10)
    logits_and_states = 4 * batch * (10 * 2 * size.vocab + size.states * size.width)
    assert ranking.PLAIN_BYTES / 2 < logits_and_states < ranking.PLAIN_BYTES


def test_the_last_line_is_the_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ranking.Result(plain=6.0, tree=0.5, best=0.25, batch=3, nodes=9, difference=1e-6)
    monkeypatch.setattr(ranking, "measure", lambda *args: result)
    ranking.main(["--threads", str(torch.get_num_threads()), "--repeats", "1"])
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "ratio: 12.00"
    assert f"torch {torch.__version__}" in printed
    assert f"{torch.get_num_threads()} threads" in printed


def test_pieces_share_prefixes_and_cut_rare_words() -> None:
    texts = ["left lung"] * 3 + ["abcde", "abcdf", "abcdg", "abcdh", "abcdi"]
    left, left_lung, rare, hyphen = ranking.pieces(
        ["left", "left lung", "abcdi", "left-lung"], texts
    )
    assert left_lung[: len(left)] == left
    assert len(left) == 1
    assert len(left_lung) == 2
    assert len(rare) == 2  # "abcd", "##i"
    assert len(hyphen) == 3


@pytest.mark.real_data
def test_the_candidate_file_can_be_made_again(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = ranking.CANDIDATES.read_text(encoding="utf-8")
    monkeypatch.setattr(ranking, "CANDIDATES", tmp_path / "ids.json")
    ranking.rebuild(real_data / "vqa_rad" / "trainset.json")
    assert (tmp_path / "ids.json").read_text(encoding="utf-8") == committed
