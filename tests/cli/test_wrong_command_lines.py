"""Wrong command lines: exit code 2, one sentence, no traceback, and nothing on disk."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, Main

ROOT = Path(__file__).parents[2]
LONG = 300 * "x"
TOYS = shlex.join(QUICK)

#: Files in the folder of every call.
FILES = {
    "key.yaml": "trainer:\n  max_epoch: 3\n",
    "option.yaml": "model:\n  class_path: Classifier\n  init_args:\n    lrr: 1\n",
    "value.yaml": "model:\n  class_path: Classifier\n  init_args:\n    lr: abc\n",
    "fine.yaml": "model:\n  class_path: Classifier\n  init_args:\n    lr: 0.5\ndata: Toys\n",
    "forgotten.yaml": "data:\n  class_path: Toys\n  init_arg:\n    studies: 3\n",
    "words.yaml": "data:\n  class_path: Toys\n  init_args: words\n",
    "seed.yaml": "model:\n  init_args:\n    seed: 3\n",
    "list.yaml": "- 1\n",
    "empty.yaml": "",
    "broken.yaml": "data:\n  class_path: Toys\n init_args:\n",
    "twice.yaml": "model: A\nmodel: B\n",
    "unclosed.yaml": "model: {a: [1\n",
    "tab.yaml": "model:\n\tclass_path: A\n",
    "model_is_a_number.yaml": "model: 3\ndata: Toys\n",
    "model_is_a_list.yaml": "model: [Classifier]\ndata: Toys\n",
    "trainer_is_a_number.yaml": "model: Classifier\ndata: Toys\ntrainer: 3\n",
    "callback.yaml": "trainer:\n  callbacks:\n  - class_path: EarlyStoping\n",
    "patience.yaml": "trainer:\n  callbacks:\n  - class_path: EarlyStopping\n    init_args:\n"
    "      monitor: val_loss\n      patience: long\n",
    "no_data.yaml": "model: Classifier\n",
    "null_byte.yaml": 'runs: "a\\0b"\n',
    "a_file": "",
    "lacks_a_package.py": "import a_package_that_is_missing\n",
    "wrong_syntax.py": "\n\nclass MyData(:\n",
    "raises.py": "1 / 0\n",
    "half.py": "from json import nothing_of_this_name\n",
    "sweep.yaml": "runs:\n  - {name: a, config: []}\n",
}

COMMANDS = {
    "fti": "no command `fti`; did you mean `fit`?",
    "Test": "no command `Test`; did you mean `test`?",
    "audti": "did you mean `audit`?",
    "train": "there is no command `train`",
    "''": "there is no command ``",
    "--config fine.yaml fit": "`--config` comes before the command",
    "--model.lr=1": "comes before the command",
    "-c fine.yaml": "`-c` comes before the command",
    "fit": "data and model missing: give --config",
    "validate --data Toys": "model missing: give --config",
    "test --model Classifier": "data missing: give --config",
    "predict": "data and model missing",
    "fit --data=Toys --model.lr=1": "no class is named for `model`",
}

CONFIGS = {
    "--config": "`--config` needs a file",
    "-c": "`-c` needs a file",
    "--config none.yaml": "the config file none.yaml does not exist",
    "--config fin.yaml": "did you mean fine.yaml?",
    "--config no/folder.yaml": "there is no folder no.",
    "--config .": ". is a folder: give --config a file",
    f"--config {LONG}": "cannot be read (File name too long)",
    "--config list.yaml": "list.yaml: a config file holds keys",
    "--config empty.yaml": "empty.yaml: a config file holds keys",
    "--config a_file": "a_file: a config file holds keys",
    "--config broken.yaml": "broken.yaml, line 3, column 2: not valid YAML",
    "--config unclosed.yaml": "unclosed.yaml, line 2, column 1: not valid YAML",
    "--config tab.yaml": "tab.yaml, line 2, column 1: not valid YAML",
    "--config twice.yaml": "twice.yaml, line 2: `model` is given a second time",
    "--config key.yaml": "key.yaml, line 2: there is no option `trainer.max_epoch`; did you mean "
    "`trainer.max_epochs`?",
    "--config option.yaml": "option.yaml, line 4: model Classifier has no option `lrr`; did you",
    "--config value.yaml": "value.yaml, line 4: model.init_args.lr does not take 'abc': give a "
    "number.",
    "--config value.yaml --config fine.yaml": "value.yaml, line 4: model.init_args.lr",
    "--config fine.yaml --config value.yaml": "value.yaml, line 4: model.init_args.lr",
    "--config forgotten.yaml": "forgotten.yaml, line 3: `data:` takes only",
    "--config words.yaml": "words.yaml, line 3: `init_args:` of Toys holds no names and values.",
    "--config seed.yaml": "model.init_args.seed follows --seed_everything",
    "--config callback.yaml": "callback.yaml, line 3: there is no trainer.callbacks class "
    "`EarlyStoping`; did you mean `EarlyStopping`?",
    "--config patience.yaml": "patience.yaml, line 6: trainer.callbacks.0.init_args.patience does "
    "not take 'long': give a whole number.",
    "--config null_byte.yaml": "cannot be written (embedded null byte)",
    "--config fine.yaml --config broken.yaml": "broken.yaml, line 3",
}

#: The options are not those of the files.
ALONE = {
    "fit --config model_is_a_number.yaml": "model_is_a_number.yaml, line 1: `model` does not take",
    "fit --config model_is_a_list.yaml": "`model",
    "fit --config trainer_is_a_number.yaml": "trainer_is_a_number.yaml, line 3: `trainer` takes",
    "fit --config no_data.yaml": "data missing: give --config",
    # The file is right.
    "fit --config fine.yaml --model.lr=abc": "error: model.init_args.lr does not take 'abc'",
    "fit --config fine.yaml --data=Toyz": "error: there is no data class `Toyz`",
    "fit --config fine.yaml --data.lr=1": "error: data Toys has no option `lr`",
    "fit --config fine.yaml --model.class_path=Nope": "error: there is no model class `Nope`",
}

OPTIONS = {
    "--trainer.max_epoch 3": "`--trainer.max_epoch`; did you mean `--trainer.max_epochs`?",
    "--modle.lr 1": "no option `--modle.lr`; did you mean `--model`?",
    "--ckpt_pth=x": "no option `--ckpt_pth`; did you mean `--ckpt_path`?",
    "--experimen x": "did you mean `--experiment`?",
    "--checkpoint.monitr x": "did you mean `--checkpoint.monitor`?",
    "--answer_images.sampls 3": "did you mean `--answer_images.samples`?",
    "--zzz": "there is no option `--zzz`; see `fit --help`.",
    "--model.lrr 1": "model Classifier has no option `lrr`; did you mean `lr`?",
    "--data.bach_size 1": "data Toys has no option `bach_size`; did you mean `batch_size`?",
    "--model.init_args.lr.x 1": "model.init_args.lr does not take",
    "stray": "`stray` belongs to no option",
    "--model.least_lr 1": "`--model.least_lr` has another name now: give `--model.min_lr`",
    "--data.allow_pickle true": "`--data.allow_pickle` was removed",
    "--model.seed 3": "model.init_args.seed follows --seed_everything",
    "--checkpoint.dirpath x": "--checkpoint.dirpath follows the run folder",
    "--checkpoint.filename x": "--checkpoint.filename follows the run folder",
    "--last.dirpath x": "--last.dirpath follows the run folder",
    "--last.filename x": "--last.filename follows the run folder",
    "--trainer.default_root_dir x": "is the run folder here: use --runs",
    "--overwrite --ckpt_path last": "holds no last.ckpt",
    "--ckpt_path best": "holds no best.ckpt",
    "--ckpt_path none.ckpt": "--ckpt_path none.ckpt",
}

CLASSES = {
    "--model Clasifier": "no model class `Clasifier`; did you mean `Classifier`?",
    "--model Zzz": "no model class `Zzz`; use one of Broken, Classifier, Interrupted, Terminated",
    "--model tests.cli.toys.ToyTask": "no class is named for `model`",
    "--model tests.cli.toys.Nope": "the module `tests.cli.toys` does not define it.",
    "--model tests.cli.nope.X": "Python finds no module `tests.cli.nope`",
    "--model nope.X": "Python finds no module `nope`, so check its name and PYTHONPATH.",
    "--model json.JSONDecoder": "`json.JSONDecoder`: it is not a subclass of ToyTask.",
    "--data Toyz": "no data class `Toyz`; did you mean `Toys`?",
    "--data tests.cli.toys.Classifier": "no data class `tests.cli.toys.Classifier`: it is not",
    "--data json.dumps": "`json.dumps`: it is not a subclass of ToyData.",
    "--data ''": "there is no data class ``",
    "--data lacks_a_package.MyData": "its module `lacks_a_package` cannot be imported (",
    "--data=lacks_a_package.MyData": "lacks_a_package.py, line 1: ModuleNotFoundError: No module "
    "named 'a_package_that_is_missing')",
    "--data wrong_syntax.MyData": "wrong_syntax.py, line 3: SyntaxError: invalid syntax",
    "--model raises.MyTask": "raises.py, line 1: ZeroDivisionError: division by zero)",
    "--trainer.callbacks+=half.Mine": "half.py, line 1: ImportError: cannot import name",
    "--trainer.callbacks+=Foo": "there is no trainer.callbacks class `Foo`; use one of",
    "--trainer.callbacks+=EarlyStoping": "`EarlyStoping`; did you mean `EarlyStopping`?",
    "--trainer.callbacks=EarlyStoping": "`EarlyStoping`; did you mean `EarlyStopping`?",
    "--trainer.callbacks+=my_module.Foo": "Python finds no module `my_module`",
    "--trainer.callbacks+=EarlyStopping": "EarlyStopping needs `monitor`",
    "--trainer.callbacks='[{class_path: Timer, init_args: {durations: 1}}]'": "trainer.callbacks "
    "Timer has no option `durations`; did you mean `duration`?",
    "--trainer.callbacks='[{class_path: EarlyStopping, init_args: {monitor: a, mode: m}}]'": "`mod"
    "e` can be min, max, got m",
    "--trainer.callbacks 3": "there is no trainer.callbacks class `3`",
    "--trainer.logger Tensorbord": "no trainer.logger class `Tensorbord`; did you mean "
    "`TensorBoardLogger`?",
    "--trainer.plugins Foo": "there is no trainer.plugins class `Foo`",
}

VALUES = {
    "--model.lr abc": "model.init_args.lr does not take 'abc': give a number.",
    "--model.lr": "model.init_args.lr does not take '': give a number.",
    "--model.lr [1]": "model.init_args.lr does not take '[1]'",
    "--model.width 1.5": "model.init_args.width does not take '1.5': give a whole number.",
    "--model.width 99": "model.width is above 64: give a smaller one.",
    "--data.protocol cleen": "data.init_args.protocol does not take 'cleen': give clean or "
    "literature.",
    "--data.batch_size many": "data.init_args.batch_size does not take 'many'",
    "--answer_images.samples x": "answer_images.samples does not take 'x': give a whole number.",
    "--seed_everything x": "`--seed_everything` does not take 'x'",
    "--seed_everything": "`--seed_everything` does not take ''",
    "--seed_everything 1.5": "`--seed_everything` does not take '1.5'",
    "--seed_everything -1": "--seed_everything takes a whole number from 0 to 4294967295.",
    "--seed_everything 4294967296": "--seed_everything takes a whole number from 0 to 4294967295.",
    "--seed_everything 18446744073709551617": "takes a whole number from 0 to 4294967295.",
    "--overwrite maybe": "unrecognized arguments: maybe",
    "--checkpoint.save_top_k -2": "save_top_k",
    "--checkpoint.mode maxx": "--checkpoint.mode is maxx: give min or max.",
    "--checkpoint.every_n_epochs x": "checkpoint.every_n_epochs does not take 'x': give a whole "
    "number or null.",
    "--last.save_last maybe": "last.save_last does not take 'maybe'",
    "--lr_monitor.logging_interval often": "lr_monitor.logging_interval does not take 'often'",
}

TRAINER = {
    "--trainer.max_epochs x": "trainer.max_epochs does not take 'x': give a whole number or null.",
    "--trainer.max_epochs": "trainer.max_epochs does not take ''",
    "--trainer.max_epochs -5": "`max_epochs` must be a non-negative integer or -1",
    "--trainer.max_epochs 0": "--trainer.max_epochs is 0: give more than 0.",
    "--trainer.max_steps -5": "`max_steps` must be a non-negative integer or -1",
    "--trainer.max_steps 0": "--trainer.max_steps is 0: give more than 0.",
    "--trainer.max_time soon": "(duration='soon')` is not a valid duration",
    "--trainer.accelerator quantum": "--trainer.accelerator quantum: there is none of this name",
    "--trainer.strategy nope": "--trainer.strategy nope: there is none of this name",
    "--trainer.strategy dpp": "did you mean `ddp`?",
    "--trainer.devices -7": "should be an int > 0",
    "--trainer.devices 0": "not a valid input using cpu accelerator",
    "--trainer.devices x": "`devices` selected with `CPUAccelerator` should be an int > 0",
    "--trainer.num_nodes 0": "--trainer.num_nodes is 0: give at least 1.",
    "--trainer.precision 17": "trainer.precision does not take '17': give 64, 32, 16,",
    "--trainer.gradient_clip_val -1": "--trainer.gradient_clip_val is -1: give at least 0.",
    "--trainer.gradient_clip_val nan": "trainer.gradient_clip_val does not take 'nan'",
    "--trainer.gradient_clip_algorithm size": "gradient_clip_algorithm",
    "--trainer.accumulate_grad_batches 0": "accumulate_grad_batches is 0: give at least 1.",
    "--trainer.limit_train_batches 0": "--trainer.limit_train_batches is 0: give more than 0.",
    "--trainer.limit_train_batches -1": "limit_train_batches",
    "--trainer.limit_train_batches 1.5": "limit_train_batches",
    "--trainer.limit_val_batches -3": "limit_val_batches",
    "--trainer.overfit_batches -1": "overfit_batches",
    "--trainer.val_check_interval 0": "--trainer.val_check_interval is 0: give more than 0.",
    "--trainer.val_check_interval -1": "invalid value -1 for val_check_interval",
    "--trainer.val_check_interval 9": "val_check_interval",
    "--trainer.check_val_every_n_epoch 0": "check_val_every_n_epoch is 0: give at least 1.",
    "--trainer.log_every_n_steps -1": "log_every_n_steps is -1: give at least 0.",
    "--trainer.num_sanity_val_steps x": "trainer.num_sanity_val_steps does not take 'x'",
    "--trainer.num_sanity_val_steps -2": "num_sanity_val_steps is -2: give at least -1.",
    "--trainer.reload_dataloaders_every_n_epochs -1": "reload_dataloaders_every_n_epochs",
    "--trainer.fast_dev_run -1": "fast_dev_run",
    "--trainer.profiler nope": "it can only be one of ['simple', 'advanced', 'pytorch', 'xla']",
    "--trainer.benchmark maybe": "trainer.benchmark does not take 'maybe': give true or false or",
}

PLACES = {
    "--runs ''": "--runs is empty: give a folder",
    "--runs ' '": "--runs is empty: give a folder",
    "--runs a_file": "the run folder a_file/Toys-Classifier/clean/seed0 cannot be written (Not a",
    "--runs a_file/below": "cannot be written (Not a directory)",
    f"--runs {LONG}": "cannot be written (File name too long)",
    f"--runs {LONG} --ckpt_path best": "cannot be written (File name too long)",
    "--runs /proc/1/none": "cannot be written (No such file or directory)",
    "--experiment ''": "--experiment '' is not a folder name",
    "--experiment a/b": "--experiment 'a/b' is not a folder name",
    "--experiment ..": "--experiment '..' is not a folder name",
    "--experiment 'a b'": "--experiment 'a b' is not a folder name",
    f"--experiment {LONG}": "is not a folder name: use at most 200 letters, digits and `._-`.",
    "--data.root=missing": "the folder missing holds no data: give --data.root.",
}

OTHERS = {
    f"test {TOYS} --overwrite": "--overwrite belongs to `fit`",
    f"validate {TOYS} --overwrite": "--overwrite belongs to `fit`",
    f"validate {TOYS} --trainer.limit_val_batches=0": "limit_val_batches is 0: give more than 0.",
    f"test {TOYS} --trainer.limit_test_batches=0": "limit_test_batches is 0: give more than 0.",
    f"predict {TOYS} --trainer.limit_predict_batches=0": "limit_predict_batches is 0",
    f"validate {TOYS} --runs a_file": "cannot be written (Not a directory)",
    f"test {TOYS} --ckpt_path best": "holds no best.ckpt",
    "audit": "data missing: give --config",
    "audit --data": "there is no data class ``",
    "audit --data Toyz": "did you mean `Toys`?",
    "audit --data Toys --data.rot x": "data Toys has no option `rot`; did you mean `root`?",
    "audit --data Toys --data.batch_size x": "data.init_args.batch_size does not take 'x'",
    "audit --data Toys --check_images maybe": "`--check_images` does not take 'maybe'",
    "audit --data Toys --chek_images false": "did you mean `--check_images`?",
    "audit --data Toys --json 3": "unrecognized arguments: 3",
    "audit --data Toys --held_out Toyz": "there is no held_out class `Toyz`; did you mean `Toys`?",
    "audit --data Toys --held_out '[{class_path: Toys, init_args: {rot: x}}]'": "held_out Toys has "
    "no option `rot`",
    "audit --data raises.MyData": "ZeroDivisionError",
    "audit --config none.yaml": "none.yaml does not exist",
    "audit --config no_data.yaml": "no key `data:`",
    "audit --config forgotten.yaml": "forgotten.yaml, line 3: `data:` takes only",
    "audit stray": "`stray` belongs to no option",
    "prepare": "prepares nothing",
    "prepare dat": "`prepare dat` prepares nothing",
    "prepare --data Toys": "prepares nothing",
    "prepare data": "data missing",
    "prepare data --data Toys --download maybe": "unrecognized arguments: maybe",
    "prepare data --data Toys --resize big": "`--resize` does not take 'big'",
    "prepare data --data Toys --worker 3": "did you mean `--workers`?",
    "prepare teacher --data Toys": "data Toys has no teacher",
    "prepare teacher --data Toys --data.batch_size x": "does not take 'x'",
    "answer": "give the checkpoint as --ckpt_path, or a shared model as --model",
    "answer --ckpt_path x --model y": "give the checkpoint as --ckpt_path, or a shared model",
    "answer --ckpt_path": "argument --ckpt_path: expected one argument",
    "answer --ckpt_path x --top many": "argument --top: invalid int value: 'many'",
    "answer --ckpt_path x --imag a_file": "unrecognized arguments: --imag a_file",
    "answer --ckpt_path x --image a_file": "give --image and --question",
    f"answer --ckpt_path x --image {LONG} --question a": "does not exist or cannot be read",
    "answer --ckpt_path x --image . --question a --frame x": "argument --frame: invalid int value",
    "answer --ckpt_path x --questions .": "error: ",
    f"answer --ckpt_path {LONG} --image a_file --question a": "error: ",
    "report": "the following arguments are required: DIR",
    "report none": "none is not a folder",
    "report a_file": "a_file is not a folder",
    f"report {LONG}": "is not a folder",
    "report .": "holds no result-*.json",
    "report . --figure a.png": "a.png is no such file: end its name in .svg",
    "report . --html a.md": "a.md is no such file: end its name in .html",
    "report . --no-images": "--no-images needs --html FILE.html.",
    "report . --sumary": "unrecognized arguments: --sumary",
    "report . --baseline": "argument --baseline: expected one argument",
    "sweep": "the following arguments are required: FILE",
    "sweep none.yaml": "the config file none.yaml does not exist",
    "sweep .": ". is a folder",
    "sweep list.yaml": "holds keys",
    "sweep fine.yaml": "fine.yaml: ",
    "sweep sweep.yaml --seeds x": "argument --seeds: invalid int value: 'x'",
    "sweep sweep.yaml --seeds": "argument --seeds: expected at least one argument",
    "sweep sweep.yaml --seeds 0 -1": "--seeds -1: give whole numbers from 0 to 4294967295.",
    "sweep sweep.yaml --seeds 4294967296": "give whole numbers from 0 to 4294967295.",
    "sweep sweep.yaml --runs ''": "--runs is empty",
    "sweep sweep.yaml --only b": "--only b: no such run",
    "sweep sweep.yaml --set x": "--set x: write NAME=VALUE.",
    "sweep sweep.yaml --set x=1": "has no variable `x`",
    "sweep sweep.yaml --sizes tiny": "unrecognized arguments: --sizes tiny",
    "sweep sweep.yaml --report=--sumary": "unrecognized arguments: --sumary",
    "sweep sweep.yaml --report='--figure a.png'": "a.png is no such file: end its name in .svg",
    "sweep sweep.yaml --report='\"'": "cannot be split",
}

LINES = {
    **COMMANDS,
    **ALONE,
    **OTHERS,
    **{
        f"fit {TOYS} {words}": sentence
        for table in (CONFIGS, OPTIONS, CLASSES, VALUES, PLACES)
        for words, sentence in table.items()
    },
}

#: With the suite's own classes, which need half a second each.
REAL = {
    "--model AMiFVQAA": "did you mean `AMiFVQA`?",
    "--model Nothing": "no model class `Nothing`; use one of AMiFPretrain, AMiFVQA",
    "--model.lr -1": "model.init_args.lr is -1.0 and min_lr is 1e-06: give an lr above 0",
    "--model.heads 0": "model.init_args.heads is 0: give at least 1.",
    "--model.attention fast": "model.init_args.attention does not take 'fast': give sdpa or eager.",
    "--answer_images.samples 0": "AnswerImages: samples is 0: give at least 1.",
    "--data Phantm": "no data class `Phantm`; did you mean `Phantom`?",
    "--data.train_studies few": "data.init_args.train_studies does not take 'few': give a whole",
}


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return tmp_path


def assert_refused(
    main: Main, line: str, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert main(*shlex.split(line)) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("error: ")
    assert len(printed.err.splitlines()) == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.replace(TOYS, "")[:60])
def test_a_wrong_line(
    line: str, toy_main: Main, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(toy_main, line, LINES[line], wrong, capsys)


@pytest.mark.parametrize(
    "words",
    # `make test-all` runs those that Lightning refuses.
    [
        w if "--trainer" in t else pytest.param(w, marks=pytest.mark.slow)
        for w, t in TRAINER.items()
    ],
)
def test_a_wrong_option_of_the_trainer(
    words: str, toy_main: Main, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(toy_main, f"fit {TOYS} {words}", TRAINER[words], wrong, capsys)


@pytest.mark.parametrize("words", REAL)
def test_a_wrong_line_on_real_classes(
    words: str, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from amif_lightning.cli import main

    line = f"fit --config {ROOT}/experiments/vqa/phantom.yaml {words}"
    assert_refused(lambda *argv: main(argv), line, REAL[words], wrong, capsys)


def test_there_are_enough_lines() -> None:
    assert len(LINES) + len(REAL) >= 150
