from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amif_lightning.errors import UserError
from data_modules.phantom.read import Footprints, footprint, read_phantom, read_studies
from data_modules.phantom.simulator.findings import finding_vector
from data_modules.phantom.simulator.geometry import VIEWS


def test_release_counts_rows_over_the_file(phantom_root: Path) -> None:
    release = read_phantom(phantom_root)
    assert release.dataset == "Phantom"
    assert list(release.splits) == ["train", "validation", "test"]
    lines = (phantom_root / "questions.jsonl").read_text().splitlines()
    rows = [row for found in release.splits.values() for row in found]
    assert [row.question_id.rsplit("/", 1)[1] for row in rows] == [
        str(i) for i in range(len(lines))
    ]
    assert rows[0].question_id == "Phantom/train/0"
    assert all((phantom_root / row.image).is_file() for row in rows[::50])
    assert all(row.split == row.question_id.split("/")[1] for row in rows)


def test_studies_have_two_views_a_report_and_the_vector_of_their_findings(
    phantom_root: Path,
) -> None:
    studies = read_studies(phantom_root)
    assert Counter(study.split for study in studies) == {"train": 160, "validation": 30, "test": 60}
    for study in studies:
        assert [image.view for image in study.images] == list(VIEWS)
        assert study.vector == finding_vector(study.findings)
        assert study.findings_text
        assert study.impression
        assert study.report == f"{study.findings_text} {study.impression}"
        assert len(study.shown_on) == len(study.findings)
        assert all(shown for shown in study.shown_on)


def test_footprints_lie_where_the_image_differs(phantom_root: Path) -> None:
    """Masses and nodules are brighter than the same place in the other lung."""
    reader = Footprints(phantom_root)
    brighter = []
    for study in read_studies(phantom_root):
        if len(study.findings) != 1 or study.findings[0].side not in ("left", "right"):
            continue
        if study.findings[0].kind != "mass" or study.findings[0].zone == "lower":
            continue
        (item,) = reader.of(study.study_id, "frontal")
        if item.contrast < 3:
            continue
        mirrored = item.mask[:, ::-1]
        with Image.open(phantom_root / study.images[0].path) as image:
            pixels = np.asarray(image).astype(float)
        brighter.append(pixels[item.mask].mean() - pixels[mirrored].mean())
        columns = np.nonzero(item.mask)[1]
        assert (columns.mean() > 56) == (study.findings[0].side == "left")
    assert len(brighter) >= 5
    assert np.mean(brighter) > 25


def test_footprint_of_an_image_is_the_union_over_its_findings(phantom_root: Path) -> None:
    studies = read_studies(phantom_root)
    reader = Footprints(phantom_root)
    several = next(study for study in studies if len(study.findings) == 2)
    parts = reader.of(several.study_id, "lateral")
    assert [part.kind for part in parts] == [finding.kind for finding in several.findings]
    union = footprint(phantom_root, several.study_id, "lateral")
    assert union.shape == (112, 112)
    assert np.array_equal(union, parts[0].mask | parts[1].mask)
    healthy = next(study for study in studies if not study.findings)
    assert not footprint(phantom_root, healthy.study_id, "frontal").any()


def test_rows_of_a_patient_share_a_group(phantom_root: Path) -> None:
    of_study = {study.study_id: study.patient_id for study in read_studies(phantom_root)}
    rows = [row for found in read_phantom(phantom_root).splits.values() for row in found]
    for row in rows:
        assert row.group == of_study[Path(row.image).name.rsplit("_", 1)[0]]
    assert len({row.group for row in rows}) < len({row.image_key for row in rows}) / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], r"questions\.jsonl holds .* and .*phantom\.json promises"),
        (lambda lines: [*lines, lines[-1]], r"questions\.jsonl holds .* promises"),
    ],
)
def test_another_number_of_questions_than_promised_is_refused(
    phantom_root: Path, tmp_path: Path, change: Callable[[list[str]], list[str]], message: str
) -> None:
    for name in ("phantom.json", "studies.jsonl", "questions.jsonl"):
        (tmp_path / name).write_bytes((phantom_root / name).read_bytes())
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(UserError, match=message) as error:
        read_phantom(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "phantom.json").write_text("{}")
    with pytest.raises(UserError, match="is not a manifest"):
        read_phantom(tmp_path)


def test_missing_and_broken_data_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"phantom.json is missing.*`fit` or `audit` with --data Phantom"
    ):
        read_phantom(tmp_path)
    (tmp_path / "phantom.json").write_text("{}")
    with pytest.raises(UserError, match=r"studies.jsonl is missing"):
        read_studies(tmp_path)
    (tmp_path / "studies.jsonl").write_text('{"study_id":\n')
    with pytest.raises(UserError, match=r"studies.jsonl cannot be read \(line 1: no JSON object"):
        read_studies(tmp_path)
