from __future__ import annotations

import numpy as np

from data_modules.phantom.simulator.masks import decode_runs, encode_runs


def test_runs_restore_the_mask() -> None:
    mask = np.random.default_rng(0).random((112, 112)) < 0.3
    mask[0, 0] = mask[-1, -1] = True
    assert np.array_equal(decode_runs(encode_runs(mask)), mask)
    assert encode_runs(np.zeros((112, 112), dtype=bool)) == []
