from __future__ import annotations

from typing import Literal

import pytest

from amif_lightning.arguments import check_choice, check_minimum
from amif_lightning.errors import UserError


def test_an_unknown_word_is_an_error() -> None:
    check_choice("task", "half", Literal["whole", "half"])
    with pytest.raises(UserError, match=r"^data\.init_args\.task is .x.: give one of whole, half"):
        check_choice("task", "x", Literal["whole", "half"])


def test_a_number_below_its_minimum_is_an_error() -> None:
    check_minimum({"workers": (0, 0), "size": (1, 1)})
    with pytest.raises(UserError, match=r"^data\.init_args\.size is 0: give at least 1\.$"):
        check_minimum({"workers": (0, 0), "size": (0, 1), "width": (-1, 0)})
