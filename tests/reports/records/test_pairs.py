"""Lines of studies with single pairs: round trip, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.study_scores import StudyLine, read_studies, write_studies
from tests.reports.conftest import synthetic_studies
from tests.reports.pairs import with_pairs


@pytest.fixture
def lines() -> list[StudyLine]:
    return with_pairs(synthetic_studies(0, 1.5, 12), 0)


def test_round_trip(tmp_path: Path, lines: list[StudyLine]) -> None:
    path = tmp_path / "studies-test.jsonl"
    write_studies(path, lines)
    assert read_studies(path) == tuple(lines)
    bare = with_pairs(synthetic_studies(0, 1.5, 12), 0, matches=False)
    write_studies(path, bare)
    assert read_studies(path) == tuple(bare)


def test_lines_from_before_pairs_are_read(tmp_path: Path, lines: list[StudyLine]) -> None:
    path = tmp_path / "studies-test.jsonl"
    write_studies(path, lines)
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    path.write_text(
        "".join(json.dumps({k: row[k] for k in row if k != "pairs"}) + "\n" for row in rows)
    )
    assert read_studies(path) == tuple(replace(line, pairs=None) for line in lines)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("pairs.matching.own", None, "must be a number"),
        ("pairs.matching.random", None, "must be null where 'pairs.random' is"),
        ("pairs.matching", None, "null"),
        ("pairs.reranked", 1.2, "from 0 to 1"),
        ("pairs.transport.own", "x", "pairs.transport.own"),
        ("pairs.cosine", -2, "from -1 to 1"),
        ("pairs.localised", {}, "must be a list"),
        ("pairs.hard", "nobody", "must be another study"),
        ("pairs.random", "study1", "must be another study"),
        ("pairs", None, "null on some lines"),
        ("pairs.extra", 0, "extra"),
    ],
)
def test_odd_fields_are_refused(
    tmp_path: Path,
    lines: list[StudyLine],
    set_field: Callable[..., None],
    field: str,
    value: Any,
    said: str,
) -> None:
    path = tmp_path / "studies-test.jsonl"
    write_studies(path, lines)
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    set_field(rows[1], field, value)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=said) as caught:
        read_studies(path)
    assert f"{path}" in str(caught.value)


def test_a_region_without_an_area_is_refused(tmp_path: Path, lines: list[StudyLine]) -> None:
    pair = lines[2].pairs
    assert pair is not None
    empty = replace(pair.localised[0], area=0.0)
    lines[2] = replace(lines[2], pairs=replace(pair, localised=(empty,)))
    with pytest.raises(UserError, match="area"):
        write_studies(tmp_path / "studies-test.jsonl", lines)
