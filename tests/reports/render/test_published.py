from __future__ import annotations

from amif_lightning.reports.render.published import DATASETS, published, published_table


def test_every_number_has_a_source_and_a_protocol() -> None:
    for row in published():
        values = [v for v in (row.open, row.closed, row.overall) if v is not None]
        assert all(isinstance(value, float) and 0 < value < 100 for value in values), row
        assert row.protocol, row
        assert bool(values) == bool(row.sources), row
        assert row.dataset in DATASETS


def test_rows_are_distinct_and_open_lies_below_closed() -> None:
    rows = published()
    assert len({(r.model, r.dataset, r.sources, r.note) for r in rows}) == len(rows)
    for row in rows:
        if row.open is not None and row.closed is not None and row.overall is not None:
            assert row.open < row.overall < row.closed, row


def test_the_papers_own_row_is_not_transcribed() -> None:
    own = [row for row in published() if row.model == "AMiF"]
    assert [row.dataset for row in own] == list(DATASETS)
    for row in own:
        assert (row.open, row.closed, row.overall) == (None, None, None)
        assert "not transcribed" in row.note


def test_the_table_names_protocols_and_question_sets() -> None:
    table = published_table()
    lines = table.splitlines()
    lapa = next(line for line in lines if "LaPA " in line and "VQAMed2019" in line)
    assert "81.6" in lapa
    assert "375 questions" in lapa
    assert "literature (test answers visible)" in lapa
    llava = [line for line in lines if "LLaVA-Med v1" in line]
    assert len(llava) == 3
    assert all("token recall, not accuracy" in line for line in llava)
    assert "comparable with none of the `clean` rows" in table
