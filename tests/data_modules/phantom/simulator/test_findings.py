from __future__ import annotations

import numpy as np

from data_modules.phantom.reports import write_report
from data_modules.phantom.simulator.findings import (
    COORDINATES,
    KINDS,
    PROFILES,
    draw_profiles,
    finding_vector,
    unit_vectors,
)


def test_sixty_to_a_hundred_distinct_vectors() -> None:
    vectors = [finding_vector(profile.findings) for profile in PROFILES]
    assert len(set(vectors)) == len(PROFILES)
    assert 60 <= len(PROFILES) <= 100
    rows = unit_vectors(vectors)
    assert rows.shape == (len(PROFILES), len(COORDINATES))
    assert rows.dtype == np.float32
    cosines = rows @ rows.T
    assert np.allclose(np.diag(cosines), 1.0, atol=1e-6)
    np.fill_diagonal(cosines, 0.0)
    assert cosines.max() < 0.99  # no two profiles point the same way


def test_none_has_a_coordinate_of_its_own() -> None:
    healthy = finding_vector([])
    assert sum(healthy) == 1
    assert COORDINATES[healthy.index(1)] == "none"
    others = [finding_vector(profile.findings) for profile in PROFILES if profile.findings]
    assert all(vector[healthy.index(1)] == 0 and sum(vector) > 0 for vector in others)


def test_drawn_profiles_keep_their_shares() -> None:
    drawn = draw_profiles(np.random.default_rng(0), 1200)
    total = sum(profile.weight for profile in PROFILES)
    for profile in PROFILES:
        expected = 1200 * profile.weight / total
        assert abs(drawn.count(profile) - expected) <= 1
    assert {finding.kind for profile in drawn for finding in profile.findings} == set(KINDS)


def test_a_batch_of_64_repeats_vectors_in_other_words() -> None:
    drawn = draw_profiles(np.random.default_rng(1), 1200)
    for batch in range(5):
        picked = drawn[64 * batch : 64 * (batch + 1)]
        texts: dict[tuple[int, ...], set[str]] = {}
        for index, profile in enumerate(picked):
            report = " ".join(write_report(np.random.default_rng([batch, index]), profile.findings))
            texts.setdefault(finding_vector(profile.findings), set()).add(report)
        repeated = [words for words in texts.values() if len(words) > 1]
        assert len(texts) < 64
        assert len(repeated) >= 5


def test_report_names_what_is_there_and_denies_only_what_is_not() -> None:
    words = {
        "nodule": ("nodule",),
        "mass": ("mass",),
        "effusion": ("effusion", "fluid"),
        "consolidation": ("consolidation",),
        "pneumothorax": ("pneumothorax",),
        "cardiomegaly": ("cardiomegaly", "heart", "cardiac"),
    }
    denials = ("no ", "not ", "normal", "clear")
    for index, profile in enumerate(PROFILES):
        for repeat in range(4):
            report = " ".join(
                write_report(np.random.default_rng([index, repeat]), profile.findings)
            )
            assert "{" not in report
            assert "  " not in report
            assert len(report.split()) < 90
            sentences = [part.strip().lower() for part in report.split(".") if part.strip()]
            for finding in profile.findings:
                about = [s for s in sentences if any(w in s for w in words[finding.kind])]
                assert about
                own = [s for s in about if not any(d in f"{s} " for d in denials)]
                assert own, report
                if finding.side in ("left", "right"):
                    assert any(finding.side in s for s in own)
                if finding.size:
                    assert any(finding.size in s for s in own)
