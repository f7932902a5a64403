"""``sweep``: the runs of a comparison for every seed, then their report."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amif_lightning.cli.commands.plain_parser import PlainParser
from amif_lightning.cli.config_files import suggestion
from amif_lightning.cli.runs import MAX_SEED, RunFolder
from amif_lightning.cli.sweep_file import OPTIONS, PlannedRun, plan
from amif_lightning.errors import UserError


def sweep_parser() -> PlainParser:
    """Build the parser of ``sweep``."""
    parser = PlainParser(
        "sweep",
        "Train and test the runs of a comparison, seed by seed, and print the report. "
        "Finished runs are skipped and interrupted ones resumed, so the same command can be called "
        "again. Options after `--` are passed to every fit and test.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="a file of experiments/sweep/")
    add("--seeds", type=int, nargs="+", default=[0], metavar="K", help="(default: 0)")
    add("--runs", default="runs", metavar="DIR", help="folder of the run folders (default: runs)")
    add("--size", default="", help="tiny, small or base (default: tiny)")
    add("--protocol", default="", help="clean, disjoint or literature (default: clean)")
    add("--root", default="", metavar="FOLDER", help="the data set's folder")
    add("--split", default="", help="validation or test; default: as in the file")
    add("--init_from", default="", metavar="CKPT", help="checkpoint that runs start from")
    add("--only", nargs="+", default=[], metavar="NAME", help="these runs only, by experiment")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another variable of the file; may be given several times",
    )
    add("--report", default="", metavar="OPTIONS", help='options of report, as --report="..."')
    add("--dry-run", action="store_true", help="print the commands and run nothing")
    return parser


@dataclass(frozen=True)
class Sweeper:
    """Run commands, or only print them; every ``fit`` and ``test`` gets the options ``extra``."""

    runs: str
    extra: Sequence[str]
    dry: bool

    def run(self, run: PlannedRun, seed: int, following: Iterable[PlannedRun]) -> None:
        """Fit and test a run, unless it (or, without a test, all that follow it) is finished."""
        folder = self._folder(run, seed)
        waiting = [run] if run.then == "test" else list(following)
        records = [self._folder(one, seed).path / f"result-{one.split}.json" for one in waiting]
        if run.then != "validate" and records and all(path.is_file() for path in records):
            print(f"{folder.path} is finished: skipped", flush=True)
            return
        words = list(run.words)
        if run.after is not None:
            words += ["--model.init_args.init_from", self._best(run.after, seed)]
        words += ["--runs", self.runs, "--experiment", run.name]
        words += ["--seed_everything", str(seed), *self.extra]
        if run.weights is not None:
            self.call("test", *words, "--ckpt_path", self._best(run.weights, seed))
            return
        resume = folder.resumable
        self.call("fit", *words, *([] if resume is None else ["--ckpt_path", resume]))
        if run.then != "nothing":
            self.call(run.then, *words, "--ckpt_path", "best")

    def call(self, command: str, *words: str) -> None:
        """Run a command in a new process; a UserError if it fails, a SystemExit if interrupted."""
        words = ("-m", "amif_lightning", command, *words)
        print(shlex.join(["python", *words]), flush=True)
        code = 0 if self.dry else _wait([sys.executable, *words])
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):  # it printed how to resume
            raise SystemExit(code)
        if code != 0:
            raise UserError(
                f"`{command}` ended with exit code {code} and the sweep stops: see above, and call "
                "the same command again, which skips finished runs."
            )

    def _folder(self, run: PlannedRun, seed: int) -> RunFolder:
        return RunFolder.of(self.runs, run.name, run.protocol, seed)

    def _best(self, run: PlannedRun, seed: int) -> str:
        return str(self._folder(run, seed).path / "best.ckpt")


def main(argv: Sequence[str]) -> int:
    """Run the command with the arguments after ``sweep``; returns 0.

    Raises:
        UserError: If the file or an option is wrong, or a command fails.
    """
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    options = sweep_parser().parse_args(words[:cut])
    given = {name: value for name in OPTIONS if (value := getattr(options, name))}
    for word in options.set:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--set {word}: write NAME=VALUE.")
        given[name.lower()] = value
    for seed in options.seeds:
        if not 0 <= seed <= MAX_SEED:
            raise UserError(f"--seeds {seed}: give whole numbers from 0 to {MAX_SEED}.")
    try:
        of_report = shlex.split(options.report)
    except ValueError as error:
        raise UserError(f"--report {options.report!r} cannot be split: {error}.") from error
    from amif_lightning.cli.commands.report import report_parser

    report_parser().parse_args([options.runs, *of_report])  # not after hours of training
    planned = plan(options.file, given)
    names = {run.name for run in planned.runs}
    for name in options.only:
        if name not in names:
            raise UserError(f"--only {name}: no such run{suggestion(name, names, show=40)}.")
    sweeper = Sweeper(options.runs, words[cut + 1 :], options.dry_run)
    for seed in options.seeds:
        for run in planned.runs:
            if not options.only or run.name in options.only:
                sweeper.run(run, seed, [one for one in planned.runs if one.after == run])
    if any(run.then == "test" for run in planned.runs):
        folder = Path(options.runs, planned.report)
        more = [word for name in planned.baselines for word in ("--baseline", name)]
        page = ["--html", str(folder / "report.html")]
        sweeper.call("report", str(folder), *page, *of_report, *more)
    else:
        print(f'\nCurves and images: make tensorboard RUNS="{options.runs}"')
    return 0


def _wait(command: Sequence[str]) -> int:
    """Wait for a process, also after Ctrl-C or SIGTERM, which end it; return its exit code."""
    with subprocess.Popen(command) as process:
        # The terminal sends Ctrl-C to both, and a run needs time to print how to resume.
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
        }
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
