"""The tables of answers, of attention on the vocabulary and of retrieval, and the notes."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean, stdev

import pytest

from amif_lightning.reports.records.run import Durations, Hardware
from amif_lightning.reports.render.markdown import Table, bullets, escaped, markdown
from amif_lightning.reports.render.tables import answer_table, knowledge_table, report, search_table
from amif_lightning.reports.render.verdicts import verdict
from tests.reports.conftest import Writer, answers_in, cells, searches_in

READ = "Attention on the answer vocabulary"


def rows_of(table: Table) -> list[dict[str, str]]:
    """The cells of every row by their columns, as Markdown prints them."""
    return cells(table.parts[1])


def test_every_row_has_all_that_a_score_needs(write_run: Writer, tmp_path: Path) -> None:
    for seed in range(3):
        write_run(seed, test_runs=1 + seed // 2)
    (group,) = groups = answers_in(tmp_path)
    rows = rows_of(answer_table(groups))
    assert [row["questions"] for row in rows] == [
        "overall",
        "closed (answer_type field)",
        "open (answer_type field)",
        "closed (answer is yes or no)",
        "open (answer is not yes or no)",
        "type modality",
        "type organ",
        "type size",
    ]
    overall, counts = rows[0], group.right()
    deviation = 100 * stdev([count / 300 for count in counts])
    mean = 100 * sum(counts) / 900
    assert overall["accuracy % (± std over seeds)"] == f"{mean:.1f} ± {deviation:.1f}"
    assert re.fullmatch(r"\d\d\.\d-\d\d\.\d", overall["95 % interval"])
    assert overall["right of asked, per seed"] == ", ".join(map(str, counts)) + " of 300"
    assert overall["ceiling %"] == "75.0 (225 of 300)"
    right = group.first.baselines.question_only["overall"].correct
    assert overall["question-only baseline %"] == f"{right / 3:.1f} ({right} of 300)"
    assert overall["same-image copy %"] == "25.0 (75 of 300)"
    assert re.fullmatch(r"\d\d\.\d \(\d+, \d+, \d+ of 300\)", overall["shuffled images %"])
    assert (overall["seeds"], overall["test runs"]) == ("3", "1, 1, 2")
    assert overall["hardware"] == "Xeon, 2 cores, 8 GiB"
    assert overall["time per seed"].startswith("train 13 min, test 31 s")
    assert {row["protocol"] for row in rows} == {"clean"}


def test_what_a_row_must_not_hide(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    machine = Hardware(cpu="Xeon", cores=16, memory_gib=None, gpu="H200", devices=2)
    options = {"protocol": "literature", "untrained": True, "control": None, "ceiling": None}
    before = Durations(train=180.0, test=5.0, before=120.0)
    write_run(0, experiment="bare", hardware=machine, durations=before, **options)
    groups = answers_in(tmp_path)
    rows = rows_of(answer_table(groups))
    small, first = rows[7], rows[8]
    assert small["questions"] == "type size"  # too few questions for a percentage
    assert small["accuracy % (± std over seeds)"] == small["95 % interval"] == "-"
    for column in ("right of asked, per seed", "ceiling %", "shuffled images %"):
        assert re.fullmatch(r"\d of 6", small[column])
    assert {row["protocol"] for row in rows[8:]} == {"literature (test answers visible)"}
    assert first["hardware"] == "2 x H200 (Xeon, 16 cores)"
    assert first["experiment"] == "bare (UNTRAINED)"
    assert (first["shuffled images %"], first["ceiling %"]) == ("not run", "-")
    assert first["time per seed"] == "train before 2 min, train 3 min, test 5 s"
    assert report(groups).split("\n\n")[:2] == [verdict(group) for group in groups]


def test_notes_have_warnings_provenance_and_missing_files(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    write_run(0, git_dirty=True)
    path = write_run(1, predictions=False, config={"seed_everything": 1, "model": {"lr": 2}})
    write_search(0)
    other = write_search(1, lines=False)
    notes = report(answers_in(tmp_path), searches_in(tmp_path)).split("## Notes")[1]
    assert f"{path.with_name('predictions-test.jsonl')} is missing" in notes
    assert f"{other.with_name('studies-test.jsonl')} is missing" in notes
    assert "commit 0123456789 with uncommitted changes, 0123456789" in notes
    assert "425 candidates from train, majority answer 'no' 20.0 (60 of 300)" in notes
    assert "full: seeds 0, 1, commit 0123456789, torch 2.8.0, geomloss 0.3.1." in notes
    assert notes.count("configurations differ in model.init_args.lr, model.lr.") == 1
    assert notes.count("202 of 203 test images") == notes.count("3 reports were cut.") == 1


def test_options_that_must_differ_between_seeds_are_no_difference(
    write_run: Writer, tmp_path: Path
) -> None:
    for seed in range(2):
        writer = {"class_path": "ResultWriter", "init_args": {"seed": seed, "folder": f"s{seed}"}}
        start = {"init_from": f"runs/before/clean/seed{seed}/best.ckpt"}
        write_run(
            seed,
            config={"seed_everything": seed, "trainer": {"callbacks": [writer]}, "model": start},
        )
    assert "configurations differ" not in report(answers_in(tmp_path))


def test_seeds_that_started_from_one_checkpoint_of_another_seed_differ(
    write_run: Writer, tmp_path: Path
) -> None:
    for seed, start in ((1, "seed1"), (2, "seed1")):
        write_run(seed, config={"init_from": f"runs/{start}/best.ckpt"})
    assert "configurations differ in init_from." in report(answers_in(tmp_path))


def test_a_control_of_some_seeds_only_is_not_averaged(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    write_run(1, control=None)
    groups = answers_in(tmp_path)
    assert {row["shuffled images %"] for row in rows_of(answer_table(groups))} == {
        "only 1 of 2 seeds"
    }
    text = report(groups)
    assert "not run" not in text
    assert text.count("only 1 of 2 seeds have the") == 2  # in the verdict and in the notes
    assert "was run" not in text


def test_markdown_cells_cannot_break_the_table() -> None:
    table = markdown(["a", "b"], [["x|y", "two\nlines"]])
    assert table.splitlines()[2] == "| x\\|y | two lines |"
    assert len({len(line) for line in table.splitlines()}) == 1


# ---- the vocabulary -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p < 0.001, [a] (b)", "p < 0.001, [a] (b)"),
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        (r"C:\data", r"C:\data"),
        ("`x` <b> </b> <!-- [x](y)", r"\`x\` \<b> \</b> \<!-- [x]\(y)"),
        ("\x1b[2J\u202e\n# x", r"\u001b[2J\u202e\n# x"),
    ],
)
def test_text_of_records_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected
    assert bullets([text]) == [f"- {expected}"]


def test_attention_has_a_row_for_every_subset(write_run: Writer, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(seed, experiment="reads", read=True)
    write_run(0, experiment="blind")
    groups = answers_in(tmp_path)
    rows = rows_of(knowledge_table(groups))
    (group,) = (group for group in groups if group.key.experiment == "reads")
    assert len(rows) == len(group.subsets)
    overall = rows[0]
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


def test_attention_in_the_report(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    assert READ not in report(answers_in(tmp_path))
    write_run(1, experiment="reads", read=True)
    groups = answers_in(tmp_path)
    text = report(groups)
    assert text.index("## Results") < text.index(f"## {READ}") < text.index("## Notes")
    (few,) = (row for row in rows_of(knowledge_table(groups)) if row["questions"] == "type size")
    assert few["attention on the answer % (± std over seeds)"] == few["95 % interval"] == "-"
    assert few["effective entries"] != "-"


# ---- searches -----------------------------------------------------------------------------------


def test_every_row_of_retrieval_has_all_that_a_score_needs(
    write_search: Writer, tmp_path: Path
) -> None:
    for seed in range(3):
        write_search(seed, test_runs=1 + seed // 2)
    (group,) = groups = searches_in(tmp_path)
    (row,) = rows_of(search_table(groups))
    assert list(row)[4:10] == [
        *(f"precision@{k} %" for k in (1, 5, 10)),
        *(f"recall@{k} %" for k in (1, 5, 10)),
    ]
    for measure in ("precision", "recall"):
        for k in (1, 5, 10):
            values = [100 * getattr(r.mean, measure)[k] for r in group.records]
            cell = re.fullmatch(
                r"(\d+\.\d) ± (\d+\.\d) \((\d+\.\d)-(\d+\.\d)\)", row[f"{measure}@{k} %"]
            )
            assert cell is not None
            mean, deviation, low, high = map(float, cell.groups())
            assert abs(mean - fmean(values)) <= 0.051
            assert abs(deviation - stdev(values)) <= 0.051
            assert low < mean < high
    assert (row["data"], row["split"], row["experiment"]) == ("Phantom 112px", "test", "full")
    assert row["studies"] == "60"
    assert row["chance %"] == "precision 8.3, recall@1 1.7, recall@5 8.3, recall@10 16.7"
    assert row["best possible precision@5 %"] == "100.0"
    assert row["zero-shot"] == "33.3 (20, 20, 20 of 60)"
    assert row["teacher KL, nats"] == "0.260 ± 0.010"
    assert (row["seeds"], row["test runs"]) == ("3", "1, 1, 2")
    assert row["hardware"] == "Xeon, 2 cores, 8 GiB"
    assert row["time per seed"] == "train 3 min, test 8 s"


def test_missing_values_are_a_dash(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, zero_shot=None, teacher_kl=None, untrained=True, lines=False)
    (row,) = rows_of(search_table(searches_in(tmp_path)))
    assert row["zero-shot"] == row["teacher KL, nats"] == "-"
    assert row["experiment"] == "full (UNTRAINED)"
    assert re.fullmatch(r"\d+\.\d", row["precision@5 %"])  # one seed, no lines


def test_few_studies_have_no_percentage(write_search: Writer, tmp_path: Path) -> None:
    write_search(0, studies=29)
    groups = searches_in(tmp_path)
    (row,) = rows_of(search_table(groups))
    assert row["precision@5 %"] == row["recall@1 %"] == row["chance %"] == "-"
    assert row["zero-shot"] == "10 of 29"
    # Without answers there is no table of answers.
    text = report([], groups)
    assert re.findall("^## .*", text, re.MULTILINE) == ["## Image-text retrieval", "## Notes"]


@pytest.mark.parametrize("nested", [True, False])  # as the command line and as Python write it
def test_the_teacher_is_printed_with_its_divergence(
    write_search: Writer, tmp_path: Path, nested: bool
) -> None:
    """Divergences of different teachers share a column and cannot be compared."""
    options = {"teacher": "shuffled_vectors"}
    write_search(0, config={"data": {"init_args": options} if nested else options})
    (row,) = rows_of(search_table(searches_in(tmp_path)))
    assert row["teacher KL, nats"] == "0.250 (shuffled_vectors)"
