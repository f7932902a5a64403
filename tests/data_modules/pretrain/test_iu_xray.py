"""IU X-Ray: both layouts, sections, views, patients, downloads, and malformed reports."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.cli import main
from amif_lightning.data.files import sources
from amif_lightning.data.files.names import OUTSIDE
from amif_lightning.data.files.tables import MALFORMED, NO_FILE
from amif_lightning.data.leakage.cross_dataset import across
from amif_lightning.data.schema.studies import HELD_OUT, NO_IMAGE, NO_TEXT
from amif_lightning.errors import UserError
from data_modules import IUXray, Mixture
from data_modules.pretrain.iu_xray import BAD_ENTRY, BAD_IMAGE, BAD_REPORT, TWICE
from tests.data.leakage import plain_look
from tests.data.tiny_release import tiny
from tests.fakes_corpora import (
    IU_ENTRIES,
    IU_STUDIES,
    QUICK,
    iu_entry,
    reasons,
    rows_of,
    write_iu_annotation,
    write_iu_xray,
)
from tests.http_server import Page, serving

OPTIONS = QUICK | {"batch_size": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_iu_xray(tmp_path)
    return tmp_path


def texts(data: IUXray) -> dict[str, str]:
    return {name: row.text for name, row in rows_of(data).items()}


def test_reports_with_their_sections_and_views(root: Path) -> None:
    data = IUXray(str(root), **OPTIONS)
    assert data.release.layout == "openi"
    assert texts(data) == {
        "CXR1": "Heart is normal. One.",
        "CXR2": "No of fluid. Two.",
        "CXR3": "Lungs are clear & wide.",
        "CXR4": "Four,.",
        "CXR5": "Five. Band at base.",
        "CXR6": "",
        "CXR7": ".",
        "CXR8": "No image eight. Eight.",
        "CXR10": "Ten. Scar.",
    }
    assert list(texts(data)) == [f"CXR{study[0]}" for study in IU_STUDIES]  # not 1, 10, 2
    assert reasons(data) == {NO_TEXT: 2, NO_IMAGE: 1}
    for number, shown, *_ in IU_STUDIES:
        images = rows_of(data)[f"CXR{number}"].images
        assert [image.view for image in images] == [view for _, view in shown]
        assert all(image.file.is_file() for image in images)
    assert rows_of(data)["CXR1"].images[0].image_id == "IUXray/NLMCXR_png/CXR1_1_IM-0001-3001.png"
    data.setup("fit")
    assert next(iter(data.train_dataloader())).first.shape == (1, 3, 16, 16)
    with pytest.raises(UserError, match="the XML reports name no test split"):
        data.setup("test")


def test_options_of_the_text(root: Path) -> None:
    data = IUXray(str(root), sections=["impression"], placeholders="keep", **OPTIONS)
    found = texts(data)
    assert (found["CXR2"], found["CXR4"], found["CXR7"]) == ("Two .", "Four, XXXX.", "XXXX")
    assert found["CXR3"] == ""
    assert data.selection().items() >= {"sections": "impression", "placeholders": "keep"}.items()
    with pytest.raises(
        UserError, match=r"sections is .*: give one or more of findings, impression"
    ):
        IUXray(str(root), sections=["indication"], **OPTIONS)  # type: ignore[list-item]  # wrong


@pytest.mark.parametrize("place", ["NLMCXR_reports", ""])
def test_both_places_and_no_table_of_views(tmp_path: Path, place: str) -> None:
    write_iu_xray(tmp_path, views=False)
    if not place:
        (tmp_path / "NLMCXR_reports" / "ecgen-radiology").rename(tmp_path / "ecgen-radiology")
        (tmp_path / "NLMCXR_png").rename(tmp_path / "images")
    data = IUXray(str(tmp_path), **OPTIONS)
    assert len(data.release.splits["train"]) == len(IU_STUDIES)
    assert not any(image.view for row in rows_of(data).values() for image in row.images)
    assert any("put indiana_projections.csv in the root" in one for one in data.warnings())


def test_annotations_with_their_splits_and_patients(tmp_path: Path) -> None:
    write_iu_annotation(tmp_path)
    data = IUXray(str(tmp_path), **OPTIONS)
    assert data.release.layout == "annotation"
    assert list(rows_of(data)) == [entry["id"] for entry in IU_ENTRIES]
    assert [len(row.images) for row in rows_of(data).values()] == [2, 1, 3, 2, 2, 2, 2, 1]
    assert texts(data)["CXR2384_IM-0942"] == "The heart of CXR2384 is normal."
    # Patient 5 is tested.
    assert reasons(data) == {NO_TEXT: 1, HELD_OUT: 1}
    assert [len(data.rows(split)) for split in ("train", "validation", "test")] == [3, 1, 2]
    assert rows_of(data)["CXR5_IM-2117"].group == "CXR5"
    assert data.audit().clean
    with pytest.raises(UserError, match=r"sections is given, but .*annotation\.json has one text"):
        IUXray(str(tmp_path), sections=["findings"], **OPTIONS).read_release()
    write_iu_xray(tmp_path)
    assert IUXray(str(tmp_path), **OPTIONS).release.layout == "openi"
    chosen = IUXray(str(tmp_path), layout="annotation", **OPTIONS)
    assert all(file.is_file() for file in chosen.images().values())


def test_missing_images_are_skipped_by_option(root: Path) -> None:
    (root / "NLMCXR_png" / "CXR1_1_IM-0001-3001.png").unlink()
    assert len(rows_of(IUXray(str(root), **OPTIONS))["CXR1"].images) == 2
    data = IUXray(str(root), missing_images="skip", **OPTIONS)
    assert len(rows_of(data)["CXR1"].images) == 1
    assert reasons(data)[NO_FILE] == 1


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    for layout, what in (
        ("auto", "neither ecgen-radiology/ nor annotation.json is in"),
        ("openi", "no ecgen-radiology/ is in"),
        ("annotation", "no annotation.json is in"),
    ):
        with pytest.raises(UserError, match=f"{what} .*, so run `prepare data` with --download"):
            IUXray(str(tmp_path), layout=layout, **OPTIONS).read_release()  # type: ignore[arg-type]  # a str
    with pytest.raises(UserError, match="download the data set from https://openi"):
        IUXray(str(tmp_path / "none"), **OPTIONS).read_release()
    write_iu_xray(tmp_path)
    (tmp_path / "indiana_projections.csv").write_text("uid,filename\n")
    with pytest.raises(UserError, match=r"has no column 'projection' .*delete it to use no views"):
        IUXray(str(tmp_path), **OPTIONS).read_release()
    shutil.rmtree(tmp_path / "NLMCXR_png")
    with pytest.raises(UserError, match="no folder NLMCXR_png or images is in"):
        IUXray(str(tmp_path), **OPTIONS).read_release()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", BAD_REPORT),
        (b"<eCitation>", BAD_REPORT),
        (b"<eCitation/>", BAD_REPORT),
        (b"<eCitation><uId id='../1'/></eCitation>", BAD_REPORT),
        (b"<eCitation><uId id='CXR9_IM-1'/></eCitation>", BAD_REPORT),
        (b"<?xml version='1.0' encoding='none'?><a/>", BAD_REPORT),
        (b"<eCitation><uId id='CXR\xff'/></eCitation>", BAD_REPORT),
        (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><a>&b;</a>", BAD_REPORT),
        (b"<eCitation><uId id='CXR1'/></eCitation>", TWICE),
        (b"<eCitation><uId id='CXR9'/><parentImage id='../x'/></eCitation>", BAD_IMAGE),
    ],
)
def test_each_bad_report_has_its_reason(root: Path, content: bytes, reason: str) -> None:
    good = texts(IUXray(str(root), **OPTIONS))
    (root / "NLMCXR_reports" / "ecgen-radiology" / "99.xml").write_bytes(content)
    data = IUXray(str(root), **OPTIONS)
    assert Counter(row.reason for row in data.release.dropped) == {reason: 1}
    assert {name: text for name, text in texts(data).items() if text} == {
        name: text for name, text in good.items() if text
    }


def test_a_table_of_views_with_another_name_is_counted(root: Path) -> None:
    with (root / "indiana_projections.csv").open("a") as stream:
        stream.write("1,other.png,Frontal\n")
    assert reasons(IUXray(str(root), **OPTIONS))[MALFORMED] == 1


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (3, BAD_ENTRY),
        (iu_entry("IM-1", "train"), BAD_ENTRY),
        (iu_entry("CXR1_a/b", "train"), BAD_ENTRY),
        (iu_entry("CXR1", "train", report=None), BAD_ENTRY),
        (iu_entry("CXR1", "train", report="half \ud800"), BAD_ENTRY),
        (iu_entry("CXR1", "train", image_path="a.png"), BAD_ENTRY),
        (iu_entry("CXR1", "train", image_path=[3]), BAD_ENTRY),
        (iu_entry("CXR1", "train", image_path=["../a.png"]), OUTSIDE),
        (iu_entry("CXR2384_IM-0942", "train"), TWICE),
    ],
)
def test_each_bad_entry_has_its_reason(tmp_path: Path, entry: Any, reason: str) -> None:
    write_iu_annotation(tmp_path, [*IU_ENTRIES, entry])
    data = IUXray(str(tmp_path), **OPTIONS)
    assert Counter(row.reason for row in data.release.dropped) == {reason: 1}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([], "its keys are not train, val and test"),
        ({"dev": []}, "its keys are not train, val and test"),
        ({"train": {}}, "train is not a list"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path, content: Any, what: str) -> None:
    write_iu_annotation(tmp_path)
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"is not the expected release because {what}, so fetch"):
        IUXray(str(tmp_path), **OPTIONS).read_release()


def test_it_is_held_out_and_audited_across(root: Path, tmp_path: Path) -> None:
    """An image that a question set tests on does not train here."""
    questions = tiny(tmp_path / "tiny")
    copied = root / "NLMCXR_png" / "CXR5_IM-2117-1003002.png"
    shutil.copy(questions.file_of(questions.splits.test[0]), copied)
    data = IUXray(str(root), validation_fraction=0.2, split_seed=1, **OPTIONS)
    assert "IUXray/CXR5" in {row.study_id for row in data.splits.train}
    assert across(data, [questions], plain_look.look).leaks == 1
    joint = Mixture([data], held_out=[questions], hashes=str(tmp_path / "h"), **OPTIONS)
    assert "IUXray/CXR5" not in {row.study_id for row in joint.splits.train}
    assert not across(joint, [questions], plain_look.look).leaks


def test_prepare_data_downloads_it_and_says_what_it_trusts(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        for name, inner in (("NLMCXR_reports", "ecgen-radiology"), ("NLMCXR_png", "")):
            packed = tmp_path / f"{name}.tgz"
            with tarfile.open(packed, "w:gz") as archive:
                for file in sorted((root / name / inner).iterdir()):
                    archive.add(file, f"{inner}/{file.name}" if inner else file.name)
            server.pages[f"/{name}.tgz"] = Page(packed.read_bytes())
        names = ("NLMCXR_reports.tgz", "NLMCXR_png.tgz")
        source = replace(
            sources.SOURCES["IUXray"], listing=lambda: sources.unlisted(server.base, *names)
        )
        monkeypatch.setitem(sources.SOURCES, "IUXray", source)
        words = ["prepare", "data", "--data=IUXray", f"--data.root={tmp_path / 'new'}"]
        assert main([*words, "--download"]) == 0
        printed = capsys.readouterr().out
        assert printed.count("is trusted on first sight, and its sha256") == 2
        assert f"rows: train {len(IU_STUDIES)}" in printed
        assert main([*words, "--download"]) == 0
        assert "trusted" not in capsys.readouterr().out
        assert [asked for asked, _ in server.asked] == [f"/{name}" for name in names]
    assert texts(IUXray(str(tmp_path / "new"), **OPTIONS)) == {
        name: row.text for name, row in rows_of(IUXray(str(root), **OPTIONS)).items()
    }
