from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.run import Score
from amif_lightning.reports.records.study_scores import (
    Ranking,
    StudyLine,
    averages,
    read_studies,
    studies_path,
    write_studies,
)


def line(name: str, hits: int, own: bool, relevant: int = 2, **more: Any) -> StudyLine:
    """Of 7 studies: ``hits`` relevant ones among the five nearest, none nearest of all."""
    ranking = Ranking({1: 0.0, 5: hits / 5}, {1: 0.0, 5: float(own)})
    nothing = Ranking({1: 0.0, 5: 0.0}, {1: 0.0, 5: 0.0})
    given: dict[str, Any] = {
        "study_id": name,
        "group": "p",
        "relevant": relevant,
        "image_to_text": ranking,
        "text_to_image": nothing,
        "zero_shot": None,
    }
    return StudyLine(**(given | more))


def seven() -> list[StudyLine]:
    return [line(f"s{n}", hits=n % 3, own=n % 3 == 2, relevant=2 + (n == 6)) for n in range(7)]


def test_round_trip(tmp_path: Path) -> None:
    path = studies_path(tmp_path, "test")
    assert path.name == "studies-test.jsonl"
    lines = [replace(one, study_id=one.study_id + " \u2028 ä") for one in seven()]
    write_studies(path, lines)
    assert read_studies(path) == tuple(lines)


def test_averages_are_counted_by_hand() -> None:
    found = averages([replace(one, zero_shot=n < 3) for n, one in enumerate(seven())])
    # Hits 0, 1, 2, 0, 1, 2, 0 of five; own study among them where there are two.
    assert found.image_to_text.precision == pytest.approx({1: 0, 5: 6 / 35})
    assert found.image_to_text.recall == pytest.approx({1: 0, 5: 2 / 7})
    assert found.text_to_image.precision == {1: 0.0, 5: 0.0}
    assert found.mean.precision == pytest.approx({1: 0, 5: 3 / 35})
    assert found.mean.recall == pytest.approx({1: 0, 5: 1 / 7})
    # Relevant: six times 2 of 7, once 3 of 7.
    assert found.chance.precision == pytest.approx({1: 15 / 49, 5: 15 / 49})
    assert found.chance.recall == pytest.approx({1: 1 / 7, 5: 5 / 7})
    assert found.ceiling == pytest.approx({1: 1, 5: 15 / 35})
    assert found.zero_shot == Score(3, 7)


def test_a_k_beyond_the_split_counts_what_there_is() -> None:
    whole = Ranking({1: 1.0, 5: 2 / 3}, {1: 1.0, 5: 1.0})
    lines = [line(f"s{n}", 0, False, image_to_text=whole, text_to_image=whole) for n in range(3)]
    found = averages(lines)
    assert found.chance.precision[5] == pytest.approx(2 / 3)
    assert found.chance.recall[5] == 1
    assert found.ceiling == pytest.approx({1: 1, 5: 2 / 3})
    assert found.zero_shot is None


def test_chance_is_the_mean_of_random_orders() -> None:
    draw, order, hits, own = random.Random(0), list(range(7)), 0, 0
    relevant = [{n % 3, n % 3 + 3} | ({6} if n % 3 == 0 else set()) for n in range(7)]
    for _ in range(4000):
        for mine in range(7):
            draw.shuffle(order)
            hits += len(relevant[mine] & set(order[:5]))
            own += mine in order[:5]
    lines = [line(f"s{n}", 0, False, relevant=len(relevant[n])) for n in range(7)]
    found = averages(lines)
    assert hits / (4000 * 7 * 5) == pytest.approx(found.chance.precision[5], abs=0.005)
    assert own / (4000 * 7) == pytest.approx(found.chance.recall[5], abs=0.01)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("study_id", 3, "'study_id' must be text"),
        ("study_id", "s0", "'study_id' 's0' occurs twice"),
        ("group", ..., "'group' is missing"),
        ("relevant", 0, "'relevant' must be a whole number >= 1"),
        ("relevant", 8, "'relevant' is 8, but the file holds 7 studies"),
        ("zero_shot", True, "'zero_shot' is null on some lines only"),
        ("image_to_text.precision.5", 1.2, "'image_to_text.precision.5' must be a number from 0"),
        ("image_to_text.precision.5", 0.3, "'image_to_text.precision.5' must be the share of at"),
        ("image_to_text.precision.5", 0.6, "share of at most 2 relevant ones among 5 studies"),
        ("image_to_text.recall.5", 0.5, "'image_to_text.recall.5' must be 0 or 1"),
        ("text_to_image.recall.5", 1.0, "'text_to_image.recall.5' must be 0 or 1, and 0 without"),
        ("image_to_text.recall.1", 1.0, "'image_to_text.recall.1' must be 0 or 1, and 0 without"),
        ("image_to_text.recall.1", 0.5, "'image_to_text.recall.1' must be 0 or 1"),
        ("image_to_text.recall", {"1": 1, "5": 0}, "'image_to_text.recall' must not fall with k"),
        ("image_to_text.recall.1", ..., "'image_to_text.recall' must have the numbers k"),
        ("image_to_text.precision", {"1": 0}, "rising whole numbers as names, 5 among them"),
        ("image_to_text.precision", {"5": 0, "1": 0}, "must have rising whole numbers as names"),
        ("image_to_text.precision", {"05": 0}, "must have rising whole numbers as names"),
        ("image_to_text.f1", 0.5, "'image_to_text.f1' is not part of this schema"),
        (
            "image_to_text",
            {"precision": {"5": 0}, "recall": {"5": 0}},
            "'text_to_image.precision' has other numbers k than 'image_to_text'",
        ),
        ("colour", "red", "'colour' is not part of this schema version"),
    ],
)
def test_a_broken_field_is_named_with_its_line(
    tmp_path: Path, set_field: Callable[..., None], name: str, value: Any, message: str
) -> None:
    path = studies_path(tmp_path, "test")
    write_studies(path, seven())
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    set_field(lines[2], name, value)
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    with pytest.raises(UserError, match=message) as caught:
        read_studies(path)
    assert f"{path}, line 3: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_numbers_k_than_the_first_line(tmp_path: Path) -> None:
    other = Ranking({5: 0.0}, {5: 0.0})
    lines = [*seven(), line("s7", 0, False, image_to_text=other, text_to_image=other)]
    with pytest.raises(UserError, match=r"line 8: .* other numbers k than the first line"):
        write_studies(studies_path(tmp_path, "test"), lines)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("cut", "message"), [(0, "holds no study"), (50, "middle of a line")])
def test_a_file_that_ends_early(tmp_path: Path, cut: int, message: str) -> None:
    path = studies_path(tmp_path, "test")
    write_studies(path, seven())
    path.write_text(path.read_text()[:cut])
    with pytest.raises(UserError, match=message):
        read_studies(path)
