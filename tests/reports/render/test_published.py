from __future__ import annotations

from amif_lightning.reports.render.tables import DATASETS, published_table

TABLE = published_table()
ROWS = [dict(zip(TABLE.header, row, strict=True)) for row in TABLE.rows]
SCORES = ("open", "overall", "closed")


def test_every_number_has_a_source_and_a_protocol() -> None:
    assert len({(r["model"], r["data"], r["source"], r["note"]) for r in ROWS}) == len(ROWS)
    for row in ROWS:
        values = [float(row[name]) for name in SCORES if row[name] != "-"]
        assert all(0 < value < 100 for value in values), row
        assert row["protocol"], row
        assert bool(values) == (row["source"] != "-"), row
        assert row["data"] in DATASETS
        if len(values) == 3:
            assert values[0] < values[1] < values[2], row


def test_the_papers_own_rows_are_not_transcribed() -> None:
    own = [row for row in ROWS if row["model"] == "AMiF"]
    assert [row["data"] for row in own] == list(DATASETS)
    for row in own:
        assert {row[name] for name in SCORES} == {"-"}
        assert "not transcribed" in row["note"]


def test_protocols_and_question_sets_are_named() -> None:
    (lapa,) = [row for row in ROWS if row["model"] == "LaPA" and row["data"] == "VQAMed2019"]
    assert lapa["overall"] == "81.6"
    assert "375 questions" in lapa["note"]
    assert lapa["protocol"] == "literature (test answers visible)"
    llava = [row["note"] for row in ROWS if row["model"].startswith("LLaVA-Med v1")]
    assert llava == ["open is token recall, not accuracy"] * 3
    assert "cannot be compared with any of the `clean` rows" in TABLE.legend
