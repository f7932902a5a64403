"""``prepare``: what takes long and is done once, before any run needs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amif_lightning.cli.data_command import build_data, data_parser
from amif_lightning.errors import UserError

HELP = """\
prepare data     check a data set file by file; download it, make reduced copies of its images
prepare teacher  let the teacher read a data set, and store what it says

`prepare data --help` and `prepare teacher --help` list the options."""


def main(argv: Sequence[str], base: type | None = None) -> int:
    """Run ``prepare data``, or make the embeddings file of a teacher and data and print its path.

    ``fit`` does the same at its start; under DDP the other processes wait for the first.

    Args:
        argv: ``data`` (see ``prepare_data.py``), or ``teacher``, then options: those of
            :func:`amif_lightning.cli.data_command.build_data`.
        base: Base class of the data modules on offer; None takes the project's own.

    Raises:
        UserError: If an option is wrong, the data takes no teacher, or its teacher needs no file.
    """
    if argv and argv[0] in {"-h", "--help"}:
        print(HELP)
        return 0
    base = base or _data_base()
    if argv and argv[0] == "data":
        from amif_lightning.cli.commands.prepare_data import main as prepare_data

        return prepare_data(argv[1:], base)
    if not argv or argv[0] != "teacher":
        raise UserError(
            f"`{' '.join(['prepare', *argv[:1]])}` prepares nothing: write "
            "`prepare data --data CLASS` or `prepare teacher --config EXPERIMENT`."
        )
    parser = data_parser(
        "prepare teacher",
        "Compute the embeddings of a data set's images and texts by the teacher that `data:` "
        "names, and store them in the folder `teacher_cache`. An interrupted call goes on where "
        "it was when called again; a finished one is not repeated.",
        base,
    )
    module, config = build_data(parser, base, argv[1:])
    name = config.data.class_path.rpartition(".")[2]
    if not hasattr(module, "embeddings_file"):
        raise UserError(
            f"data {name} takes no teacher: give a data class of the pre-training stage, such as "
            "PhantomStudies."
        )
    module.prepare_data()
    path: Path | None = module.embeddings_file()
    if path is None:
        raise UserError(
            f"data {name} has teacher {module.teacher}, which needs no embeddings file: give "
            "--data.teacher open_clip, checkpoint or embeddings."
        )
    print(path)
    return 0


def _data_base() -> type:
    import data_modules
    from amif_lightning.data.loading.base_module import TextDataModule

    assert data_modules  # imported for the short class names
    base: type = TextDataModule
    return base
