# One virtual environment, created when needed, so any target may be the first call.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HAS_PIP := $(BIN)/python -m pip --version >/dev/null 2>&1
AMIF := $(BIN)/python -m amif_lightning

RUNS ?= runs
SEEDS ?= 0
SIZE ?= tiny
PROTOCOL ?= clean
# validation: the released validation set takes the role of the test set. Empty: the target's default.
SPLIT ?=
# Checkpoint to start from; empty: random weights or hub weights.
INIT_FROM ?=
# Stage of pre-training: global, then local with INIT_FROM. Empty: the experiment's default.
STAGE ?=
# A corpus of experiments/pretrain/. Empty: the paper's three corpora (mixture).
CORPUS ?=
# TensorBoard's own default.
PORT ?= 6006
# Further options of fit and test, such as EXTRA="--trainer.max_epochs 2".
EXTRA ?=
# Further options of report, such as REPORT="--published --no-images".
REPORT ?=

# Name and version of each requirement, one form for all.
VERSIONS := grep -oiE '^[a-z0-9._-]+==[^ ;]+' | tr 'A-Z_' 'a-z-' | sort
TESTED := requirements-tested.txt

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  variables: SEEDS="0 1 2"  SIZE=tiny|small|base  PROTOCOL=clean|literature  ROOT=FOLDER  RUNS=runs'
	@echo '             SPLIT=validation|test  INIT_FROM=CHECKPOINT  DATA=NAME'
	@echo '             CORPUS=NAME  STAGE=global|local  MINUTES=10'
	@echo '             EXTRA="options of fit and test"  REPORT="options of report"'
	@echo '             PYTHON=python3  VENV=.venv  PINNED=1  PORT=6006'

$(STAMP): setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11: call make PYTHON=python3.11 (or newer)." >&2; exit 1; }
	@$(HAS_PIP) || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install it first (Debian, Ubuntu:" \
	       "apt install python3-venv)." >&2; exit 1; }
	@# Ctrl-C during the first call leaves an environment without pip. Clear only a folder that is
	@# an environment (pyvenv.cfg): VENV may be anything.
	$(HAS_PIP) || $(PYTHON) -m venv $$(test ! -f $(VENV)/pyvenv.cfg || echo --clear) $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
ifdef PINNED
	$(BIN)/python -m pip install --quiet --require-hashes -r $(TESTED)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
else
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@$(BIN)/python -m pip freeze --exclude-editable | $(VERSIONS) > $(VENV)/.versions
	@cat $(TESTED) | $(VERSIONS) | comm -13 - $(VENV)/.versions | tr '\n' ' ' | \
	  sed -n 's/..*/Not the tested versions ($(TESTED); PINNED=1 installs them): &\n/p'
endif
	@touch $@

.PHONY: tested
tested: $(STAMP) ## write requirements-tested.txt: the installed versions with the hashes of their files
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m pip freeze --all --exclude-editable > $(VENV)/.freeze
	$(BIN)/uv pip compile setup.cfg --quiet --extra dev --constraint $(VENV)/.freeze --generate-hashes \
	  --no-annotate --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
	  --custom-compile-command "make tested" --output-file $(TESTED)

.PHONY: install
install: $(STAMP) ## create the virtual environment and install the suite

# ---- runs ------------------------------------------------------------------------------------------
# $(call sweep,NAME,OPTIONS): the runs of experiments/sweep/NAME.yaml for every seed, then the table and the page.
# Finished runs are skipped and interrupted ones resumed, so the same command can be repeated.
sweep = $(AMIF) sweep experiments/sweep/$(1).yaml --seeds $(SEEDS) --runs "$(RUNS)" --size $(SIZE) \
  --protocol $(PROTOCOL) --root "$(ROOT)" --init_from "$(INIT_FROM)" --report="$(REPORT)" $(2) -- $(EXTRA)
# $(call set,VARIABLES): the given ones; the others keep the file's defaults.
set = $(foreach name,$(1),$(if $(filter undefined,$(origin $(name))),,--set $(name)='$(subst ','\'',$($(name)))'))

.PHONY: demo
demo: $(STAMP) ## phantoms: align, match and answer, then the results table
	@$(call sweep,demo)

.PHONY: compare-pretraining-vqa-med
compare-pretraining-vqa-med: $(STAMP) ## VQA-Med-2019 in ROOT, validation: with and without pre-training on captions
	@$(call sweep,pretraining_vqa_med,$(call set,PRETRAIN_EPOCHS FINETUNE_EPOCHS SCRATCH_EPOCHS))

.PHONY: compare-mixture
compare-mixture: $(STAMP) ## validation of VQA-RAD (VQA_RAD=FOLDER) and VQA-Med-2019 (VQA_MED=FOLDER): alone and together
	@$(call sweep,mixture,$(call set,VQA_RAD VQA_MED MIXTURE_STEPS))
	@# Each set's own validation questions, with its own candidates; no test set is read.
	@$(call validation,vqa_rad) --data.init_args.root "$(VQA_RAD)"
	@$(call validation,vqa_med_2019) --data.init_args.root "$(VQA_MED)" --data.init_args.test_split validation

validation = $(BIN)/python benchmarks/measures/validation.py "$(RUNS)/mixture-$(1)/clean" "$(RUNS)/mixture-both/clean" \
  --config experiments/vqa/$(1).yaml --config experiments/size/$(SIZE).yaml \
  $(patsubst %,--config %,$(wildcard experiments/size/$(SIZE)_answering.yaml))

.PHONY: reproduce-vqa-rad
reproduce-vqa-rad: $(STAMP) ## VQA-RAD in ROOT: train and test every seed, print the table
	@# No validation set is released, so there is only one split to score.
	@test "$(or $(SPLIT),test)" = test || { echo "VQA-RAD has no validation set: SPLIT=test" >&2; exit 2; }
	@$(call sweep,reproduce,--set data=vqa_rad)

.PHONY: reproduce-slake
reproduce-slake: $(STAMP) ## SLAKE (English) in ROOT: train and test every seed, print the table
	@$(call sweep,reproduce,--set data=slake --split "$(SPLIT)")

.PHONY: reproduce-path-vqa
reproduce-path-vqa: $(STAMP) ## PathVQA in ROOT: train and test every seed, print the table
	@$(call sweep,reproduce,--set data=path_vqa --split "$(SPLIT)")

.PHONY: reproduce-vqa-med
reproduce-vqa-med: $(STAMP) ## VQA-Med-2019 in ROOT: train and test every seed, print the table (SPLIT: validation)
	@$(call sweep,reproduce,--set data=vqa_med_2019 --split "$(SPLIT)")

.PHONY: reproduce-pretrain
reproduce-pretrain: $(STAMP) ## pre-train on CORPUS in ROOT (mixture, released: edit the folders in its file), evaluate retrieval on its test split
	@test -z "$(ROOT)" -o -z "$(filter mixture released,$(or $(CORPUS),mixture))" || { \
	  echo "CORPUS=$(CORPUS) has no ROOT: its folders are in experiments/pretrain/$(CORPUS).yaml" >&2; exit 2; }
	@$(call sweep,pretrain,$(if $(CORPUS),--set corpus=$(CORPUS)) $(call set,STAGE))

# phantom: all stages. Another set (vqa_rad, slake, path_vqa, vqa_med_2019) in ROOT: answering only.
DATA ?= phantom

.PHONY: ablations
ablations: $(STAMP) ## phantoms, or DATA in ROOT: compare the method with and without each of its parts
	@$(if $(filter phantom,$(DATA)),$(call \
	  sweep,ablations_phantom,$(call set,GLOBAL_ABLATIONS LOCAL_ABLATIONS ANSWERING_ABLATIONS SCRATCH_STEPS)),$(call \
	  sweep,ablations,$(call set,ANSWERING_ABLATIONS) --set data=$(DATA) \
	    $(if $(filter vqa_rad,$(DATA)),,--split "$(SPLIT)")))

.PHONY: compositions
compositions: $(STAMP) ## phantoms with composed answers: with and without vocabulary, pointer loss and gate
	@$(call sweep,compositions,$(call set,COMPOSED_VARIANTS))

.PHONY: report
report: $(STAMP) ## results table of all runs below RUNS, and the page RUNS/report.html
	@$(AMIF) report "$(RUNS)" --html "$(RUNS)/report.html" $(REPORT)

.PHONY: tensorboard
tensorboard: $(STAMP) ## TensorBoard on RUNS at http://127.0.0.1:PORT, local only
	@echo "TensorBoard on $(RUNS): http://127.0.0.1:$(PORT)/   (Ctrl-C ends it)"
	@$(BIN)/tensorboard --logdir "$(RUNS)" --host 127.0.0.1 --port $(PORT)

.PHONY: benchmark
benchmark: $(STAMP) ## speed and memory, compared with a plain formulation
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; \
	  $(BIN)/python -m "benchmarks.$$(basename "$$file" .py)"; done

.PHONY: docs
docs: $(STAMP) ## the documents and the reference of the code as a site, build/docs/index.html
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs build/docs

# ---- checks ----------------------------------------------------------------------------------------
# Tests of one file share fixtures and stay in one process. Each process has one thread, because they share the cores.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

.PHONY: test
test: $(STAMP) ## all tests except slow ones and those on real data
	$(PYTEST) -m "not slow and not real_data and not faults"

.PHONY: test-all
test-all: test ## all tests; with AMIF_DATA=FOLDER also those on real data
	# One at a time: some measure time, some use all cores.
	$(BIN)/python -m pytest -q -m "(slow or faults) $(if $(AMIF_DATA),or,and not) real_data"

# Minutes of `fuzz`; it prints its seed, and SEED=NUMBER repeats a run.
MINUTES ?= 10

.PHONY: fuzz
fuzz: $(STAMP) ## mutated files through every reader for MINUTES; what crashes one is kept in RUNS/fuzz
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --out "$(RUNS)/fuzz" $(if $(SEED),--seed $(SEED))

.PHONY: golden
golden: $(STAMP) ## rewrite tests/golden.json; the commit message explains the change
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.golden

.PHONY: ddp
ddp: $(STAMP) ## tests that start two processes
	$(PYTEST) -m ddp

.PHONY: lint
lint: $(STAMP) ## ruff: rules and format; import-linter: no import points up
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: format
format: $(STAMP) ## ruff: fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: type
type: $(STAMP) ## mypy
	$(BIN)/mypy

# The oldest releases that setup.cfg allows, of its own requirements only.
LOWEST = requirements-lowest.txt

.PHONY: lowest
lowest: $(STAMP) ## write requirements-lowest.txt: the oldest direct requirements that setup.cfg allows
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile setup.cfg --quiet --extra dev --resolution lowest-direct --no-annotate \
	  --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
	  --custom-compile-command "make lowest" --output-file $(LOWEST)

.PHONY: test-lowest
test-lowest: ## tests in a new environment, build/lowest, with the versions of requirements-lowest.txt
	$(PYTHON) -m venv --clear build/lowest
	build/lowest/bin/python -m pip install --quiet -r $(LOWEST)
	build/lowest/bin/python -m pip install --quiet --no-deps -e .
	$(MAKE) test BIN=build/lowest/bin STAMP=

.PHONY: release-check
release-check: $(STAMP) ## build sdist and wheel, install the wheel into a new environment, train and test from it
	rm -rf build/release
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build --outdir build/release/dist .
	$(PYTHON) -m venv build/release/venv
	build/release/venv/bin/python -m pip install --quiet build/release/dist/*.whl
	cd build/release && venv/bin/amif-lightning --version
	cd build/release && venv/bin/amif-lightning prepare experiments
	cd build/release && for command in "fit" "test --ckpt_path best"; do \
	  venv/bin/amif-lightning $$command --config experiments/vqa/phantom.yaml --trainer.max_steps 40 \
	    --trainer.val_check_interval 40 --data.init_args.train_studies 200 \
	    --data.init_args.validation_studies 40 --data.init_args.test_studies 40 || exit 1; done
	@echo "The packages in build/release/dist install, train and test."

.PHONY: clean
clean: ## delete caches and build outputs (never runs or data)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src data_modules tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
