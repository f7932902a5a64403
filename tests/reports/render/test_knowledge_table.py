"""The table of what was read of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.render.knowledge_table import HEADER, TITLE, knowledge_rows
from amif_lightning.reports.render.tables import report

Writer = Callable[..., Path]


def test_there_is_a_row_for_every_stratum_of_what_reads(write_run: Writer, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(seed, experiment="reads", read=True)
    write_run(0, experiment="blind")
    groups = collect(tmp_path)
    rows = knowledge_rows(groups)
    (group,) = (group for group in groups if group.key.experiment == "reads")
    assert len(rows) == len(group.strata)
    overall = dict(zip(HEADER, rows[0], strict=True))
    assert (overall["experiment"], overall["questions"]) == ("reads", "overall")
    means = [record.knowledge["overall"] for record in group.records if record.knowledge]
    masses = [100 * one.mass for one in means if one.mass is not None]
    mean = sum(masses) / 2
    spread = abs(masses[0] - masses[1]) / 2**0.5
    column = "attention on the answer % (± std over seeds)"
    assert overall[column] == f"{mean:.1f} ± {spread:.1f}"
    low, high = map(float, overall["95 % interval"].split("-"))
    assert low < mean < high
    assert overall["even share %"].startswith("25.0")
    assert overall["answers with an entry"] == f"{means[0].known} of {means[0].questions}"
    assert overall["seeds"] == "2"


def test_few_questions_have_counts_alone(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, read=True)
    rows = [dict(zip(HEADER, row, strict=True)) for row in knowledge_rows(collect(tmp_path))]
    (few,) = (row for row in rows if row["questions"] == "type size")
    assert few["attention on the answer % (± std over seeds)"] == "-"
    assert few["95 % interval"] == "-"
    assert few["effective entries"] != "-"


def test_the_report_shows_it_where_something_reads(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    assert TITLE not in report(collect(tmp_path))
    write_run(1, experiment="reads", read=True)
    text = report(collect(tmp_path))
    assert f"## {TITLE}" in text
    assert text.index("## Results") < text.index(TITLE) < text.index("## Notes")
