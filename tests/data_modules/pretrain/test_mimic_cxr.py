"""MIMIC-CXR: all views of a study, the official split, texts from the reports' sections."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.data.files.tables import MALFORMED, NO_FILE
from amif_lightning.data.schema.studies import NO_IMAGE
from amif_lightning.errors import UserError
from data_modules.pretrain.mimic_cxr import MIMICCXR, NO_REPORT, NO_SECTION
from data_modules.pretrain.mimic_sections import NAME, build_sectioned
from data_modules.pretrain.mimic_tables import BAD_ID, NO_SPLIT, TWICE
from tests.fakes_corpora import (
    QUICK,
    STUDIES,
    dicom,
    image_path,
    reasons,
    report_path,
    rows_of,
    write_csv,
    write_mimic_cxr,
)

OPTIONS = QUICK | {"batch_size": 2}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the table of sections is written to data/
    write_mimic_cxr(tmp_path / "mimic")
    return tmp_path / "mimic"


@pytest.fixture(scope="module")
def plain_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked tables, and a table of sections in the root."""
    root = tmp_path_factory.mktemp("plain")
    write_mimic_cxr(root, packed=False)
    build_sectioned("MIMICCXR", root / "mimic-cxr-reports" / "files", root / NAME)
    return root


def module(root: Path, **options: Any) -> MIMICCXR:
    return MIMICCXR(str(root), **(OPTIONS | options))


@pytest.mark.parametrize("packed", [True, False])
def test_studies_views_split_and_patients(root: Path, plain_root: Path, packed: bool) -> None:
    before = sorted(root.rglob("*"))
    data = module(root if packed else plain_root)
    rows = rows_of(data)
    assert list(rows) == [f"s{study[0]}" for study in STUDIES]
    split = {"train": "train", "validate": "validation", "test": "test"}
    for number, patient, name, views, *_ in STUDIES:
        row = rows[f"s{number}"]
        assert (row.split, row.group) == (split[name], f"p{patient}")
        assert tuple(image.view for image in row.images) == views
        paths = [image_path(number, patient, place) for place in range(len(views))]
        assert [image.image_id for image in row.images] == [f"MIMICCXR/{p}" for p in paths]
        assert all(image.file.is_file() for image in row.images)
    assert rows["s50000001"].text == "Lungs are clear. Normal study number 1."
    assert not data.splits.dropped
    # Nothing is written into the root.
    assert sorted(root.rglob("*")) == before
    assert (root.parent / "data" / NAME).is_file() == packed


def test_batches_are_made_of_both_views(root: Path) -> None:
    data = module(root)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.first.shape == (2, 3, 16, 16)
    data.setup("test")
    shown = next(iter(data.test_dataloader()))
    assert shown.first_ids[0].endswith(f"{dicom(50000008, 0)}.jpg")
    assert shown.second_ids[0].endswith(f"{dicom(50000008, 1)}.jpg")


def test_missing_images_stop_the_run_or_are_skipped_and_counted(root: Path) -> None:
    (root / image_path(50000003, 10000764, 1)).unlink()
    (root / image_path(50000002, 10000032, 0)).unlink()
    data = module(root, batch_size=1)
    data.setup("fit")
    assert len(rows_of(data)["s50000003"].images) == 3
    with pytest.raises(UserError, match=r"The image .* does not exist"):
        list(data.train_dataloader())
    data = module(root, missing_images="skip")
    assert [image.view for image in rows_of(data)["s50000003"].images] == ["AP", "LL"]
    assert reasons(data) == {NO_FILE: 2, NO_IMAGE: 1}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sections": ["impression"]}, "Number 3 of."),
        ({"sections": ["impression", "findings"]}, "Number 3 of. Since, larger."),
        ({"underscores": "keep"}, "Since ___, larger. Number 3 of ___."),
    ],
)
def test_which_sections_make_the_text(plain_root: Path, options: dict[str, Any], text: str) -> None:
    data = module(plain_root, **options)
    assert rows_of(data)["s50000003"].text == text
    wanted = ", ".join(options.get("sections", ["findings", "impression"]))
    assert data.selection()["sections"] == wanted


def test_reports_without_sections_give_their_last_paragraph_or_are_dropped(root: Path) -> None:
    reports = root / "mimic-cxr-reports"
    (reports / report_path(50000002, 10000032)).write_text(
        "FINAL REPORT\n HISTORY: Cough.\n\n A large effusion.\n"
    )
    (reports / report_path(50000004, 11000011)).write_text("FINAL REPORT\n FINDINGS: Big heart.\n")
    (reports / report_path(50000001, 10000032)).unlink()
    data = module(root)
    assert rows_of(data)["s50000002"].text == "A large effusion."
    assert any(note.startswith("1 texts are the last paragraph") for note in data.release.notes)
    assert reasons(data) == {NO_REPORT: 1}
    strict = module(root, last_paragraph=False, sections=["impression"])
    assert reasons(strict) == {NO_REPORT: 1, NO_SECTION: 2}


def test_the_roots_own_table_comes_first(root: Path) -> None:
    rows = [[f"s{study[0]}", f"Made\nby hand {study[0]}.", ""] for study in STUDIES]
    # As other tools write it, without a last paragraph for every report.
    write_csv(
        root / NAME,
        ["study", "impression", "findings", "last_paragraph", "comparison"],
        [[*row, "", ""] for row in (*rows, rows[0])],
    )
    data = module(root)
    assert rows_of(data)["s50000001"].text == "Made by hand 50000001."
    assert any("1 rows of" in note for note in data.release.notes)


def test_a_table_without_a_needed_column_is_one_sentence(root: Path) -> None:
    (root / NAME).write_text("study,findings,impression\ns50000001,a,b\n")
    with pytest.raises(UserError, match="has no column 'last_paragraph'"):
        module(root).read_release()
    dropped = module(root, last_paragraph=False).release.dropped
    assert [row.reason for row in dropped] == [NO_REPORT] * (len(STUDIES) - 1)


def test_what_is_missing_is_one_sentence_that_says_where_to_apply(root: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist.*credentialed access"):
        module(root / "none").prepare_data()
    for name in ("split", "metadata"):
        (root / f"mimic-cxr-2.0.0-{name}.csv.gz").rename(root / "moved")
        with pytest.raises(UserError, match=rf"{name}\.csv\.gz is not there, so fetch .*physionet"):
            module(root).read_release()
        (root / "moved").rename(root / f"mimic-cxr-2.0.0-{name}.csv.gz")
    (root / "mimic-cxr-reports").rename(root.parent / "elsewhere")
    with pytest.raises(UserError, match=r"unpack mimic-cxr-reports\.zip .*init_args\.reports"):
        module(root).prepare_data()
    module(root, reports=str(root.parent / "elsewhere")).prepare_data()


def test_a_study_in_two_splits_is_refused(root: Path) -> None:
    path = root / "mimic-cxr-2.0.0-split.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace("train", "test", 1).encode()))
    with pytest.raises(UserError, match="puts study 50000001 into two splits"):
        module(root).read_release()


@pytest.mark.parametrize("sections", [[], ["findings", "findings"], ["wet read"]])
def test_sections_are_checked_at_construction(tmp_path: Path, sections: list[Any]) -> None:
    with pytest.raises(UserError, match=r"data\.init_args\.sections"):
        module(tmp_path, sections=sections)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("abc,10000032,50000001,,PA,1,1,1,1", None),
        (f"{dicom(50000001, 0)},10000032,50000001,,PA,1,1,1,1", TWICE),
        ("abc,10000764,50000001,,PA,1,1,1,1", BAD_ID),
        ("../abc,10000032,50000001,,PA,1,1,1,1", BAD_ID),
        ("abc,10000032,../5,,PA,1,1,1,1", BAD_ID),
        ("abc,10000032,50009999,,PA,1,1,1,1", NO_SPLIT),
        ("abc,10000032", MALFORMED),
    ],
)
def test_each_bad_line_has_its_reason(plain_root: Path, row: str, reason: str | None) -> None:
    path = plain_root / "mimic-cxr-2.0.0-metadata.csv"
    good = path.read_text()
    path.write_text(f"{good}{row}\n")
    try:
        assert reasons(module(plain_root)) == ({reason: 1} if reason else {})
    finally:
        path.write_text(good)
