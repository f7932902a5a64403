"""Reading a generated set: questions, studies, and the regions of the findings that images show."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amif_lightning.errors import UserError
from amif_lightning.evaluation import Region
from data_modules.phantom.generate import generate
from data_modules.phantom.module import NAMES, PhantomStudies
from data_modules.phantom.read import Study, read_phantom, read_regions, read_studies
from data_modules.phantom.simulator.findings import Finding, finding_vector
from data_modules.phantom.simulator.geometry import VIEWS
from data_modules.phantom.study import decode_runs, encode_runs

DENIALS = {"no", "not", "without", "neither", "nor", "negative"}


def test_release_counts_rows_over_the_file(phantom_root: Path) -> None:
    release = read_phantom(phantom_root)
    assert release.dataset == "Phantom"
    assert list(release.splits) == ["train", "validation", "test"]
    lines = (phantom_root / "questions.jsonl").read_text().splitlines()
    rows = [row for found in release.splits.values() for row in found]
    assert [row.question_id for row in rows] == [
        f"Phantom/{row.split}/{i}" for i, row in enumerate(rows)
    ]
    assert len(rows) == len(lines)
    assert all((phantom_root / row.image).is_file() for row in rows[::50])


def test_studies_have_two_views_a_report_and_the_vector_of_their_findings(
    phantom_root: Path,
) -> None:
    studies = read_studies(phantom_root)
    assert Counter(study.split for study in studies) == {"train": 160, "validation": 30, "test": 60}
    written = [json.loads(x)["report"] for x in (phantom_root / "studies.jsonl").open()]
    for study, sections in zip(studies, written, strict=True):
        assert list(study.images) == list(VIEWS)
        assert study.vector == finding_vector(study.findings)
        assert study.report == f"{sections['findings']} {sections['impression']}"
        assert len(study.shown_on) == len(study.findings)
        assert all(study.shown_on)


def test_rows_of_a_patient_share_a_group(phantom_root: Path) -> None:
    of_study = {study.study_id: study.patient_id for study in read_studies(phantom_root)}
    rows = [row for found in read_phantom(phantom_root).splits.values() for row in found]
    for row in rows:
        assert row.group == of_study[Path(row.image).name.rsplit("_", 1)[0]]
    assert len({row.group for row in rows}) < len({row.image_key for row in rows}) / 2


@pytest.mark.parametrize("name", ["questions", "compositions"])
@pytest.mark.parametrize("change", [lambda lines: lines[:-1], lambda lines: [*lines, lines[-1]]])
def test_another_number_of_questions_than_promised_is_refused(
    phantom_root: Path, tmp_path: Path, name: str, change: Callable[[list[str]], list[str]]
) -> None:
    for file in ("phantom.json", "studies.jsonl", "questions.jsonl", "compositions.jsonl"):
        (tmp_path / file).write_bytes((phantom_root / file).read_bytes())
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(UserError, match=rf"{name}\.jsonl contains .* states") as error:
        read_phantom(tmp_path, compositional=True)
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


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("studies.jsonl", {"study_id": None}),
        ("studies.jsonl", {"study_id": "another"}),
        ("studies.jsonl", {"images": [{"view": "oblique", "path": "a.png"}]}),
        ("studies.jsonl", {"report": {"findings": "Clear."}}),
        ("studies.jsonl", {"vector": [0, 1]}),
        ("questions.jsonl", {"image": 7}),
        ("questions.jsonl", {"study_id": "another"}),
        ("footprints.jsonl", {"finding": 9}),
    ],
)
def test_a_changed_line_is_one_sentence(
    phantom_root: Path, tmp_path: Path, file: str, change: dict[str, Any]
) -> None:
    for name in ("phantom.json", "studies.jsonl", "questions.jsonl", "footprints.jsonl"):
        (tmp_path / name).write_bytes((phantom_root / name).read_bytes())
    path = tmp_path / file
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *others]) + "\n")
    with pytest.raises(UserError, match=r"jsonl was not generated, or was changed \(line \d+: "):
        (read_regions if "foot" in file else read_phantom)(tmp_path)


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_deep_manifest_is_one_sentence(phantom_root: Path, tmp_path: Path, depth: int) -> None:
    (tmp_path / "phantom.json").write_text("[" * depth + "]" * depth)
    with pytest.raises(UserError, match="is not a manifest"):
        generate(tmp_path, studies={"train": 1, "validation": 1, "test": 1}, progress=False)
    for name in ("studies.jsonl", "questions.jsonl"):
        (tmp_path / name).write_bytes((phantom_root / name).read_bytes())
    with pytest.raises(UserError, match="is not a manifest"):
        read_phantom(tmp_path)


def test_runs_restore_the_mask() -> None:
    mask = np.random.default_rng(0).random((112, 112)) < 0.3
    mask[0, 0] = mask[-1, -1] = True
    assert np.array_equal(decode_runs(encode_runs(mask)), mask)
    assert encode_runs(np.zeros((112, 112), dtype=bool)) == []


# ---- regions of findings ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(phantom_root: Path) -> list[tuple[Study, str, list[Region]]]:
    """Every image with its study and the regions that the data module gives."""
    data = PhantomStudies(str(phantom_root))
    return [
        (s, path, list(data.regions(f"Phantom/{s.study_id}", f"Phantom/{path}")))
        for s in read_studies(phantom_root)
        for path in s.images.values()
    ]


def test_regions_are_the_stored_footprints_of_the_shown_findings(
    phantom_root: Path, shown: list[tuple[Study, str, list[Region]]]
) -> None:
    """The file also has footprints of hidden findings; two findings of one image keep apart."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in (phantom_root / "footprints.jsonl").open():
        row = json.loads(line)
        lines.setdefault(f"{row['study_id']}_{row['view']}", []).append(row)
    several = hidden = 0
    for study, path, regions in shown:
        rows = lines.get(Path(path).stem, [])
        assert [row["kind"] for row in rows] == [finding.kind for finding in study.findings]
        expected = [row for row in rows if row["contrast"] >= 3.0]
        hidden += len(rows) - len(expected)
        several += len(expected) > 1
        assert [region.kind for region in regions] == [row["kind"] for row in expected]
        for region, row in zip(regions, expected, strict=True):
            pixels = {
                place
                for start, length in zip(row["runs"][::2], row["runs"][1::2], strict=True)
                for place in range(start, start + length)
            }
            assert set(np.flatnonzero(region.mask).tolist()) == pixels
            assert 0 < len(pixels) < region.mask.size
    assert several > 10
    assert hidden > 10


def test_a_region_lies_on_its_finding_s_side_of_the_frontal_image(
    shown: list[tuple[Study, str, list[Region]]],
) -> None:
    """The patient's left is on the right of the image."""
    sides = dict.fromkeys(("left", "right"), 0)
    for study, path, regions in shown:
        kinds: dict[str, Finding] = {finding.kind: finding for finding in study.findings}
        if not path.endswith("_frontal.png"):
            continue
        for region in regions:
            finding = kinds[region.kind]
            if finding.side in sides:
                columns = region.mask.nonzero()[1]
                assert (columns.mean() > 55.5) == (finding.side == "left"), (path, finding)
                sides[finding.side] += 1
    assert min(sides.values()) > 5


def test_the_image_is_brighter_in_a_region_than_images_without_a_finding_there(
    phantom_root: Path, shown: list[tuple[Study, str, list[Region]]]
) -> None:
    """Solid findings are brighter than healthy images; air is darker."""

    def pixels(path: str) -> np.ndarray:
        with Image.open(phantom_root / path) as image:
            return np.asarray(image, dtype=float)

    frontal = [item for item in shown if item[1].endswith("_frontal.png")]
    usual = np.mean([pixels(path) for study, path, _ in frontal if not study.findings], axis=0)
    gaps: dict[str, list[float]] = {}
    for _, path, regions in frontal:
        for region in regions:
            change = pixels(path) - usual
            inside = change[region.mask].mean() - np.median(change[~region.mask])
            gaps.setdefault(region.kind, []).append(float(inside))
    means = {kind: float(np.mean(found)) for kind, found in gaps.items() if len(found) > 2}
    assert means.pop("pneumothorax") < 0
    assert len(means) == 5
    assert all(mean > 0 for mean in means.values()), means
    assert means["mass"] > 25


def test_every_report_names_its_findings_and_no_word_names_two_of_them(phantom_root: Path) -> None:
    assert PhantomStudies(str(phantom_root)).region_words() is NAMES
    for study in read_studies(phantom_root):
        sentences = re.split(r"[.;!?]", study.report.lower())
        words = [set(re.findall(r"[a-z]+", sentence)) for sentence in sentences]
        affirmed = set().union(*(found for found in words if not found & DENIALS))
        kinds = {finding.kind for finding in study.findings}
        for kind in kinds:
            assert affirmed & NAMES[kind], (kind, study.report)
        for kind, other in combinations(sorted(kinds), 2):
            assert not affirmed & NAMES[kind] & NAMES[other], (kind, other, study.report)
