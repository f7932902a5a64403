from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.analysis.retrieval_groups import collect_searches
from amif_lightning.reports.records.answering import ResultRecord
from amif_lightning.reports.records.retrieval import RetrievalRecord
from amif_lightning.reports.records.store import find_records, read_any
from amif_lightning.reports.records.test_counter import count_test_run

Writer = Callable[..., Path]


def test_both_kinds_are_told_apart(write_run: Writer, write_search: Writer, tmp_path: Path) -> None:
    answers, search = write_run(0), write_search(0)
    # Records of answers are as they were before there was another kind.
    assert "kind" not in json.loads(answers.read_text())
    assert isinstance(read_any(answers), ResultRecord)
    assert isinstance(read_any(search), RetrievalRecord)
    found = find_records(tmp_path)
    assert [path for path, _ in found.answering] == [answers]
    assert [path for path, _ in found.retrieval] == [search]
    assert [group.key.experiment for group in collect(tmp_path)] == ["vqa-rad"]
    assert [group.key.experiment for group in collect_searches(tmp_path)] == ["full"]


def test_an_unknown_kind_is_named(write_run: Writer, edit: Callable[..., None]) -> None:
    path = write_run(0)
    edit(path, "kind", "answering")
    assert isinstance(read_any(path), ResultRecord)
    edit(path, "kind", "drawing")
    with pytest.raises(UserError, match="'kind' must be one of answering, retrieval"):
        read_any(path)


def test_a_search_without_a_count_of_tests_continues_its_records(write_search: Writer) -> None:
    path = write_search(0, test_runs=4)
    assert count_test_run(path.parent, "test") == 5
