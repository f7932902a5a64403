"""The two views of a study: drawn for training, fixed for evaluation."""

from __future__ import annotations

from collections import Counter

import pytest

from amif_lightning.data.schema.studies import draw_views, fixed_views, kind_of

TEN = ["lateral", *["PA", "AP", "lateral"] * 3]


def drawn(views: list[str], draws: int = 2000) -> Counter[tuple[int, int]]:
    return Counter(draw_views(views, seed) for seed in range(draws))


@pytest.mark.parametrize(
    ("view", "kind"),
    [
        (" PA", "frontal"),
        ("ap", "frontal"),
        ("LL", "lateral"),
        ("Oblique", "oblique"),
        ("", ""),
        ("AP AXIAL", "frontal"),
        ("PA LLD", "frontal"),
        ("XTL", "lateral"),
        ("RL", "lateral"),
        ("LAO", "lao"),
    ],
)
def test_spellings_of_a_view_are_one_kind(view: str, kind: str) -> None:
    assert kind_of(view) == kind


def test_one_image_is_both_views() -> None:
    assert set(drawn(["lateral"], 20)) == {(0, 0)}
    assert fixed_views(["lateral"]) == (0, 0)


def test_two_views_come_in_both_orders_equally_often() -> None:
    found = drawn(["frontal", "lateral"])
    assert set(found) == {(0, 1), (1, 0)}
    assert abs(found[0, 1] - 1000) < 120  # 5 standard deviations


def test_of_ten_views_all_unlike_pairs_and_no_others_are_drawn() -> None:
    found = drawn(TEN, 4000)
    kinds = [kind_of(view) for view in TEN]
    unlike = {(i, j) for i in range(10) for j in range(10) if kinds[i] != kinds[j]}
    assert set(found) == unlike
    assert len(unlike) == 48  # 6 frontal, 4 lateral; PA beside AP is no other view
    assert min(found.values()) > 30  # 83 expected each


def test_views_of_one_kind_only_give_two_different_images() -> None:
    assert set(drawn(["PA", "AP", "PA"])) == {(i, j) for i in range(3) for j in range(3) if i != j}


def test_an_unknown_view_is_not_another_view() -> None:
    assert set(drawn(["frontal", "", "lateral"])) == {(0, 2), (2, 0)}
    assert set(drawn(["frontal", ""])) == {(0, 1), (1, 0)}  # but better than the same image


def test_the_seed_alone_decides() -> None:
    assert [draw_views(TEN, seed) for seed in range(50)] == [
        draw_views(TEN, seed) for seed in range(50)
    ]


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        (["lateral", "PA", "frontal"], (1, 0)),
        (["frontal", "AP", "lateral"], (0, 2)),
        (["lateral", "lateral"], (0, 1)),
        (["", "lateral"], (0, 1)),
        (["", "frontal"], (1, 0)),
        (TEN, (1, 0)),
    ],
)
def test_evaluation_shows_the_first_frontal_image(
    views: list[str], expected: tuple[int, int]
) -> None:
    assert fixed_views(views) == expected
