"""Records of retrieval, and the averages of their lines."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.evaluation import Count
from amif_lightning.reports.records.retrieval import Ranking, RetrievalRecord, StudyLine, averages
from amif_lightning.reports.records.run import read_record, write_record
from tests.reports.conftest import Writer, changed, edit


@pytest.fixture
def written(write_search: Writer) -> Path:
    return write_search(0, pairs={})


def test_round_trip(written: Path) -> None:
    record = read_record(written, RetrievalRecord)
    assert record.mean.ks == (1, 5, 10)
    before = written.read_text()
    write_record(written, record)
    assert written.read_text() == before
    bare = changed(record, zero_shot=None, teacher_kl=None, pairs=None)
    write_record(written, bare)
    assert read_record(written, RetrievalRecord) == bare


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kind", "answering", "'kind': must be 'retrieval', found 'answering'"),
        ("studies", 0, "'studies': must be greater than or equal to 1"),
        (
            "text_to_image.recall.1",
            1.0,
            "'text_to_image.recall' must have the numbers k of 'precision' and not fall",
        ),
        ("ceiling.1", ..., "'ceiling' must have the numbers k of 'mean'"),
        ("chance", {"precision": {"5": 0.1}, "recall": {"5": 0.1}}, "'chance' must have the num"),
        ("zero_shot", ..., "'zero_shot' is missing"),
        ("teacher_kl", -0.1, "'teacher_kl': must be greater than or equal to"),
        ("protocol", "clean", "'protocol' is not part of this schema version"),
    ],
)
def test_a_broken_field_is_named_with_its_file(
    written: Path, name: str, value: Any, message: str
) -> None:
    edit(written, name, value)
    with pytest.raises(UserError, match=message) as caught:
        read_record(written, RetrievalRecord)
    assert str(written) in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- averages ---------------------------------------------------------------------------------


def line(name: str, hits: int, own: bool, relevant: int = 2, **more: Any) -> StudyLine:
    """Of 7 studies: ``hits`` relevant ones among the five nearest, none nearest of all."""
    ranking = Ranking(precision={1: 0.0, 5: hits / 5}, recall={1: 0.0, 5: float(own)})
    nothing = Ranking(precision={1: 0.0, 5: 0.0}, recall={1: 0.0, 5: 0.0})
    given: dict[str, Any] = {
        "study_id": name,
        "group": "p",
        "relevant": relevant,
        "image_to_text": ranking,
        "text_to_image": nothing,
        "zero_shot": None,
    }
    return StudyLine(**(given | more))


def test_averages_are_counted_by_hand() -> None:
    found = averages(
        [line(f"s{n}", n % 3, n % 3 == 2, 2 + (n == 6), zero_shot=n < 3) for n in range(7)]
    )
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
    assert found.zero_shot == Count(3, 7)


def test_a_k_beyond_the_split_counts_what_there_is() -> None:
    whole = Ranking(precision={1: 1.0, 5: 2 / 3}, recall={1: 1.0, 5: 1.0})
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
    found = averages([line(f"s{n}", 0, False, relevant=len(relevant[n])) for n in range(7)])
    assert hits / (4000 * 7 * 5) == pytest.approx(found.chance.precision[5], abs=0.005)
    assert own / (4000 * 7) == pytest.approx(found.chance.recall[5], abs=0.01)
