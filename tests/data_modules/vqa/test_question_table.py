"""A user's table of questions: formats, splits, bad input, and tables without answers."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.cli import main
from amif_lightning.data.files.names import OUTSIDE
from amif_lightning.data.files.tables import MALFORMED, NO_FILE
from amif_lightning.data.files.user_tables import BAD_CELL, BAD_SPLIT
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.errors import UserError
from data_modules import QuestionMixture, QuestionTable
from data_modules.vqa.question_table import NO_IMAGE
from tests.fakes import write_image
from tests.fakes_table import rows_of_table, write_question_table, write_rows
from tests.small_sets import QUICK

COLUMNS: dict[str, Any] = {
    "group_column": "patient",
    "answer_type_column": "type",
    "question_type_column": "topic",
    "id_column": "id",
}
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def made(root: Path, **options: Any) -> QuestionTable:
    return QuestionTable(str(root), **(QUICK | {"name": "mine"} | options))


def with_rows(root: Path, rows: list[Any], **options: Any) -> QuestionTable:
    """A table of rows about two images that exist."""
    for name in "ab":
        write_image(root / f"{name}.png", ord(name))
    (root / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made(root, **({"table": "t.jsonl"} | options))


def good(number: int, **more: Any) -> dict[str, Any]:
    """A usable row."""
    row = {"image": "ab"[number % 2] + ".png", "question": f"is it {number}?", "answer": "yes"}
    return row | {"split": SPLITS[number % 3]} | more


# ---- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table", ["t.csv", "t.csv.gz", "t.tsv", "t.jsonl", "t.jsonl.gz", "t.parquet"]
)
def test_every_format_gives_the_same_questions(tmp_path: Path, table: str) -> None:
    write_question_table(tmp_path, table)
    data = made(tmp_path, table=table, **COLUMNS)
    rows = {r.qid: r for part in data.release.splits.values() for r in part}
    assert len(rows) == len(rows_of_table())
    for given in rows_of_table():
        row = rows[given["id"]]
        assert row.question_id == f"mine/{row.split}/{given['id']}"
        assert (row.image, row.image_key) == (given["image"], given["image"])
        assert (row.question, row.answer) == (given["question"], given["answer"])
        assert row.references == (given["answer"],)
        assert (row.answer_type, row.question_type) == (
            given["type"].lower(),
            given["topic"].lower(),
        )
        assert row.group
    assert data.release.layout == table.removesuffix(".gz").rpartition(".")[2]
    assert not data.audit().failed
    assert data.strata[-2:] == ("type/place", "type/size")
    data.setup("fit")
    assert sum(map(len, data.train_dataloader())) == len(data.splits.train)


def test_image_folders_of_the_hub_are_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("validation", 2), ("test", 3)):
        for place in range(count):
            write_image(tmp_path / split / f"{place}.png", place)
        rows = [
            {"file_name": f"{place}.png", "question": f"is it {place}?", "answer": "yes"}
            for place in range(count)
        ]
        write_rows(tmp_path / split / "metadata.jsonl", rows)
    options: dict[str, Any] = {"table": "metadata.jsonl", "image_column": "file_name"}
    data = made(tmp_path, **options)
    assert [len(data.rows(split)) for split in SPLITS] == [4, 2, 3]
    assert data.rows("test")[0].image == "test/0.png"
    assert all(file.is_file() for file in data.images().values())
    alone = made(tmp_path / "train", **options)  # one folder without splits
    assert [len(alone.rows(split)) for split in SPLITS] == [2, 1, 1]
    with pytest.raises(UserError, match="is in the folders train, validation, test of"):
        _ = made(tmp_path, **options, answer_column="").release


def test_a_cell_may_hold_several_answers(tmp_path: Path) -> None:
    answers = ["Mass; X-ray", ["left", "right side"], '["one", "two"]', "1", 7]
    rows = [good(0, answer=answer, split="train") for answer in answers]
    data = with_rows(tmp_path, rows, separator=";", split_column="split")
    found = [row.references for row in data.release.splits["train"]]
    assert found == [("mass", "xray"), ("left", "right side"), ("one", "two"), ("1",), ("7",)]
    assert data.release.splits["train"][0].answer == "Mass, X-ray"


# ---- splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "groups"), [("", 20), ("patient", 10)])
def test_test_and_validation_are_held_out_by_group(
    tmp_path: Path, column: str, groups: int
) -> None:
    write_question_table(tmp_path, images=20)
    tests = set()
    for seed in range(4):
        data = made(tmp_path, group_column=column, split_seed=seed)
        parts = [{row.hold_out_group for row in data.rows(split)} for split in SPLITS]
        sizes = (groups - groups // 5 - round(groups * 0.08), round(groups * 0.08), groups // 5)
        assert tuple(map(len, parts)) == sizes
        assert len(set.union(*parts)) == groups
        tests.add(frozenset(row.question_id for row in data.rows("test")))
        assert all(row.question_id.startswith("mine/test/") for row in data.rows("test"))
    assert len(tests) == 1
    what = "groups" if column else "images"
    assert data.warnings() == [
        f"test: {groups // 5} of {groups} {what} are held out from the table"
    ]
    assert made(tmp_path, test_fraction=0).release.absent.keys() == {"validation", "test"}


def test_patients_of_one_image_stay_together(tmp_path: Path) -> None:
    write_question_table(tmp_path)
    rows = rows_of_table()
    for place, row in enumerate(rows):
        row["patient"] = f"p{place % 2}-{place // 4}"  # two patients for each image
    write_rows(tmp_path / "table.csv", rows)
    for fraction in (0.2, 0.4):
        data = made(tmp_path, group_column="patient", test_fraction=fraction)
        images = [{row.image_key for row in data.rows(split)} for split in SPLITS]
        assert sum(map(len, images)) == 10


def test_the_column_of_splits_decides(tmp_path: Path) -> None:
    words = ["", "train", "Training", "dev", "val", "valid", "test", "TEST"]
    rows = [good(n, split=word) for n, word in enumerate(words)]
    data = with_rows(tmp_path, rows, split_column="split")
    assert {split: len(part) for split, part in data.release.splits.items()} == {
        "train": 3,
        "validation": 3,
        "test": 2,
    }
    assert data.release.splits["test"][0].question_id == "mine/test/7"  # the line


def test_two_tables_are_mixed_by_their_names(tmp_path: Path) -> None:
    parts = []
    for place, name in enumerate(("mine", "yours")):
        write_question_table(tmp_path / name, images=10 + place)
        for image in (tmp_path / name).rglob("*.png"):
            write_image(image, 100 * place + int(image.stem))
        renamed = tmp_path / name / "scans"
        renamed.rename(tmp_path / name / f"{name}-scans")
        table = tmp_path / name / "table.csv"
        table.write_text(
            "".join(
                line.replace("scans/", f"{name}-scans/")
                for line in table.read_text().splitlines(keepends=True)
            )
        )
        parts.append(QuestionTable(str(tmp_path / name), name=name, **QUICK))
    mixed = QuestionMixture([*parts], hashes=str(tmp_path / "hashes"), **QUICK)
    assert {row.source for row in mixed.rows("train")} <= {"mine", "yours"}
    with pytest.raises(UserError, match="Two parts of the mixture are mine"):
        _ = QuestionMixture([parts[0]] * 2, hashes=str(tmp_path / "hashes"), **QUICK).splits


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (good(0, answer=""), "empty answer", "line 2"),
        (good(0, answer=" ?! "), "empty answer", "line 2"),
        (good(0, answer=None), "empty answer", "line 2"),
        (good(0, answer=2.5), BAD_CELL, "line 2"),
        (good(0, answer=True), BAD_CELL, "line 2"),
        (good(0, answer=[1]), BAD_CELL, "line 2"),
        (good(0, question=" "), "empty question", "line 2"),
        (good(0, question=["a"]), BAD_CELL, "line 2"),
        (good(0, question="half \ud800"), BAD_CELL, "line 2"),
        (good(0, image=""), NO_IMAGE, "line 2"),
        (good(0, image="../a.png"), OUTSIDE, "line 2: ../a.png"),
        (good(0, image="/a.png"), OUTSIDE, "line 2: /a.png"),
        (good(0, image="gone.png"), NO_FILE, "line 2"),
        (good(0, split="Eval"), BAD_SPLIT, "line 2: Eval"),
        (["a"], MALFORMED, "line 2: no JSON object"),
    ],
)
def test_a_bad_row_is_dropped_and_shown(tmp_path: Path, row: Any, reason: str, detail: str) -> None:
    rows = [good(0, answer="no"), row, *(good(number) for number in range(1, 9))]
    data = with_rows(tmp_path, rows, split_column="split", missing_images="skip")
    (dropped,) = data.release.dropped
    assert (dropped.reason, dropped.detail) == (reason, detail)
    assert sum(map(len, data.release.splits.values())) == 9
    assert f"1 rows dropped: {reason}" in data.warnings()
    assert f"dropped: 1 rows, {reason} (" in data.audit().to_text()


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        ([good(0)], {"question_column": "asked"}, r"has no column 'asked' \(it has image, qu"),
        ([good(0)], {"id_column": "id"}, "has no id in line 1"),
        (
            [good(0, id="x"), good(1, id=7), good(2, id="x")],
            {"id_column": "id"},
            r"t\.jsonl has the id 'x' in line 1 and in line 3, so check the file",
        ),
        ([good(0, id=1), good(1, id="")], {"id_column": "id"}, "has no id in line 2"),
        (
            [good(0, t="open"), good(1, t="Yes/No"), good(2, t="number")],
            {"answer_type_column": "t"},
            "has the answer type 'number' in line 3, not closed or open",
        ),
        (
            [good(0), good(1, image="x/c.png"), good(2, image="d.png")],
            {},
            r"names the image 'x/c\.png' in line 2, which is not in .* \(2 rows name missing",
        ),
        (
            [good(0, answer=""), good(1, split="eval")],
            {"split_column": "split"},
            "has no usable train row .1 rows: empty answer, first in line 1; 1 rows: its split",
        ),
        ([good(1)], {"split_column": "split"}, r"has no usable train row \(it has none\)"),
        ([], {}, "has no usable train row"),
        ([good(0), good(1)], {}, "have 2 images, but training, validation and test need"),
        ([good(0)], {"image_column": ""}, r"init_args\.image_column is empty"),
        ([good(0)], {"group_column": "image"}, "the column 'image' is given twice"),
        ([good(0)], {"table": "t.xlsx"}, r"init_args\.table is 't\.xlsx'"),
        ([good(0)], {"table": "u.csv"}, r"u\.csv is not there"),
        ([good(0)], {"name": "my data"}, r"init_args\.name is 'my data'"),
        ([good(0)], {"test_fraction": 1.0}, r"init_args\.test_fraction is 1\.0"),
        ([good(0)], {"missing_images": "drop"}, "missing_images is 'drop'"),
        ([good(0)], {"answer_column": "", "split_column": "split"}, "split_column has no use"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, rows: list[Any], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        _ = with_rows(tmp_path, rows, **options).splits
    assert "\n" not in str(caught.value)


def test_one_answer_only_is_a_warning(tmp_path: Path) -> None:
    rows = [good(n, split="train" if n else "test") for n in range(9)]
    data = with_rows(tmp_path, rows, split_column="split")
    data.setup("fit")
    assert "every training answer is 'yes', so nothing can be learnt" in data.warnings()


def test_a_parquet_column_of_encoded_images_is_refused(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": b"x", "path": "a"}, "question": "is it?", "answer": "yes"}]
    write_rows(tmp_path / "t.parquet", rows)
    with pytest.raises(UserError, match=r"column 'image' of .*t\.parquet holds no text"):
        _ = made(tmp_path, table="t.parquet").release


# ---- a run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, and the run of a step on it."""
    folder = tmp_path_factory.mktemp("trained")
    write_question_table(folder / "data")
    assert main(["fit", *words(folder), "--trainer.max_steps=1"]) == 0
    return folder


def words(folder: Path, *more: str) -> list[str]:
    files = ("vqa/table", "size/tiny", "size/tiny_answering", "hardware/cpu")
    return [
        *(f"--config={EXPERIMENTS / name}.yaml" for name in files),
        f"--data.init_args.root={folder / 'data'}",
        "--data.init_args.num_workers=0",
        "--data.init_args.image_size=32",
        "--model.init_args.image_size=32",
        f"--runs={folder / 'runs'}",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        *more,
    ]


def test_a_table_is_scored_and_reported_under_its_name(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])
    assert main(["test", *words(trained, "--data.init_args.name=scans", "--ckpt_path=best")]) == 0
    run = trained / "runs" / "my_data" / "clean" / "seed0"
    record = json.loads((run / "result-test.json").read_text())
    assert (record["dataset"], record["layout"]) == ("scans", "csv")
    assert record["scores"]["overall"]["count"] == 4
    assert record["baselines"].keys() >= {"question_only", "majority"}
    assert record["control"] is not None
    assert main(["report", str(trained / "runs")]) == 0
    assert "scans" in capsys.readouterr().out


def test_a_table_without_answers_is_answered(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])
    new = [{"id": r["id"], "image": r["image"], "question": r["question"]} for r in rows_of_table()]
    new[1] = {"id": "x", "image": "gone.png", "question": "Is it large?"}
    new[2] = {"id": "y", "image": "scans/1.png", "question": ""}
    new[3] = {"id": "z", "image": "scans/1.png", "question": "Is it zq " + "large " * 40}
    write_rows(trained / "data" / "new.csv", new)
    asked = words(trained, "--data.init_args.table=new.csv", "--data.init_args.answer_column=")
    asked += ["--data.init_args.id_column=id", "--data.init_args.missing_images=skip"]
    asked += [f"--runs={tmp_path}"]
    best = f"--ckpt_path={trained / 'runs' / 'my_data' / 'clean' / 'seed0' / 'best.ckpt'}"
    assert main(["predict", *asked, best]) == 0
    folder = tmp_path / "my_data" / "clean" / "seed0"
    lines = [json.loads(line) for line in (folder / "answers-test.jsonl").read_text().splitlines()]
    by_id = {line["question_id"].rpartition("/")[2]: line for line in lines}
    assert sorted(by_id) == sorted(row["id"] for row in new)
    assert all(0 < by_id[f"q{n}"]["probability"] <= 1 for n in range(4, 20))
    assert by_id["q4"]["answer"] in {row["answer"] for row in rows_of_table()}
    assert (by_id["x"]["answer"], by_id["x"]["warnings"]) == (None, [f"{NO_FILE} (line 3)"])
    assert by_id["y"]["warnings"] == ["empty question (line 4)"]
    assert by_id["z"]["warnings"][0].endswith("tokens of the question were not read")
    with (folder / "answers-test.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["answer"] for row in table] == [line["answer"] or "" for line in lines]
    for command, message in (
        (["predict"], "no candidate answers: give a checkpoint"),
        (["test", best], "serves `predict` alone"),
        (["fit"], "serves `predict` alone"),
    ):
        capsys.readouterr()
        assert main([command[0], *asked, f"--runs={tmp_path / 'other'}", *command[1:]]) == 2
        assert message in capsys.readouterr().err


def test_a_table_without_answers_has_no_audit(tmp_path: Path) -> None:
    write_question_table(tmp_path)
    with pytest.raises(UserError, match="serves `predict` alone: name the column of answers"):
        made(tmp_path, answer_column="").audit()
