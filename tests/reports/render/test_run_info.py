from __future__ import annotations

from pathlib import Path

from amif_lightning.reports.render.run_info import option_table
from tests.reports.conftest import Writer, answers_in


def test_options_that_differ_between_configurations(write_run: Writer, tmp_path: Path) -> None:
    def config(**model: float) -> dict[str, object]:
        return {"model": {"init_args": model}, "seed_everything": 1, "runs": "x"}

    write_run(0, experiment="a", config=config(lr=0.1, gate=True) | {"experiment": "a"})
    write_run(0, experiment="b", config=config(lr=0.2) | {"experiment": "b", "seed_everything": 2})
    groups = answers_in(tmp_path)
    table = option_table(groups)
    assert table.header == ("option", "a", "b")
    assert table.rows == (
        ("model.init_args.gate", "True", "-"),
        ("model.init_args.lr", "0.1", "0.2"),
    )
    assert option_table(groups[:1]).rows == ()
