# One virtual environment, made when needed; every target can be the first one called.
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
# validation: the released validation set takes the role of the test set. Empty: what the target says.
SPLIT ?=
# Checkpoint that a run starts from; empty: random weights, or those of the hub.
INIT_FROM ?=
# Of pre-training in two stages, each a run: global, then local with INIT_FROM. Empty: what the experiment says.
STAGE ?=
# TensorBoard's own default.
PORT ?= 6006
# Further options of fit and test, such as EXTRA="--trainer.max_epochs 2".
EXTRA ?=
# Further options of report, such as REPORT="--published --no-images".
REPORT ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  variables: SEEDS="0 1 2"  SIZE=tiny|base  PROTOCOL=clean|literature  ROOT=FOLDER  RUNS=runs'
	@echo '             SPLIT=validation|test  INIT_FROM=CHECKPOINT  DATA=NAME'
	@echo '             CORPUS=NAME  STAGE=global|local'
	@echo '             EXTRA="options of fit and test"  REPORT="options of report"'
	@echo '             PYTHON=python3  VENV=.venv  PORT=6006'

$(STAMP): setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than 3.11: call make PYTHON=python3.11 (or newer)." >&2; exit 1; }
	@$(HAS_PIP) || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install it first (Debian, Ubuntu:" \
	       "apt install python3-venv)." >&2; exit 1; }
	@# Ctrl-C during the first call leaves an environment without pip. Only a folder that says of
	@# itself that it is an environment is cleared: VENV may be anything.
	$(HAS_PIP) || $(PYTHON) -m venv $$(test ! -f $(VENV)/pyvenv.cfg || echo --clear) $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

.PHONY: install
install: $(STAMP) ## make the virtual environment and install the suite into it

# ---- runs ------------------------------------------------------------------------------------------
# $(call one_seed,EXPERIMENT,PROTOCOL,SPLIT,OPTIONS): fit, then test, $$seed; a seed that has its record
# is skipped and an interrupted one resumed, so the same command can be called again.
define one_seed
  run="$(RUNS)/$(1)/$(2)/seed$$seed"; \
  if [ -f "$$run/result-$(3).json" ]; then echo "$$run is finished: skipped"; else \
    $(call fit_seed,$(1),$(2),$(4)); \
    echo "== $$run: test"; $(AMIF) test "$$@" --ckpt_path best; \
  fi
endef

# $(call fit_seed,EXPERIMENT,PROTOCOL,OPTIONS): fit $$seed, or resume it; done again, it trains nothing more.
define fit_seed
  run="$(RUNS)/$(1)/$(2)/seed$$seed"; \
  set -- $(3) --runs "$(RUNS)" --experiment $(1) --seed_everything $$seed $(EXTRA); \
  resume=""; for checkpoint in best last; do \
    if [ -f "$$run/$$checkpoint.ckpt" ]; then resume="--ckpt_path $$checkpoint"; fi; done; \
  echo "== $$run: fit $$resume"; $(AMIF) fit "$$@" $$resume
endef

# $(call train_and_test,EXPERIMENT,SPLIT,OPTIONS): every seed, then the table.
define train_and_test
	@set -e; for seed in $(SEEDS); do $(call one_seed,$(1),$(PROTOCOL),$(2),$(3)); done
	$(call report_on,$(RUNS)/$(1))
	$(dashboard)
endef

# $(call report_on,FOLDER,OPTIONS): print the table, and write the page beside the runs.
define report_on
	@$(AMIF) report "$(1)" --html "$(1)/report.html" $(REPORT) $(2)
endef

define dashboard
	@echo
	@echo "Curves, images and scores: make tensorboard RUNS=\"$(RUNS)\""
endef

# Answering at size tiny has options that studies have no use for.
ANSWERING_SIZE = --config experiments/size/$(SIZE).yaml \
  $(if $(filter tiny,$(SIZE)),--config experiments/size/tiny_answering.yaml)

define need_root
	@test -n "$(ROOT)" || { echo "give the data set's folder: make $@ ROOT=FOLDER" >&2; exit 2; }
endef

# The phantoms, stage by stage; each starts from the one before it.
BEST = clean/seed$$seed/best.ckpt
PHANTOM_GLOBAL = --config experiments/pretrain/phantom.yaml
PHANTOM_LOCAL = $(PHANTOM_GLOBAL) --config experiments/stage/phantom_local.yaml
PHANTOM_ANSWERING = --config experiments/vqa/phantom.yaml
# $(call after,EXPERIMENT): start from its best checkpoint.
after = --model.init_args.init_from "$(RUNS)/$(1)/$(BEST)"

.PHONY: demo
demo: $(STAMP) ## phantoms: align, match and answer, then the results table
	@set -e; for seed in $(SEEDS); do \
	  $(call one_seed,pretrain-phantom,clean,test,$(PHANTOM_GLOBAL)); \
	  $(call one_seed,pretrain-phantom-local,clean,test,$(PHANTOM_LOCAL) $(call after,pretrain-phantom)); \
	  $(call one_seed,vqa-phantom-pretrained,$(PROTOCOL),test,$(PHANTOM_ANSWERING) \
	    --data.init_args.protocol $(PROTOCOL) $(call after,pretrain-phantom-local)); \
	done
	$(call report_on,$(RUNS))
	$(dashboard)

# Epochs of pre-training and of fine-tuning after it, and of fine-tuning from random weights in the same time.
PRETRAIN_EPOCHS ?= 2
FINETUNE_EPOCHS ?= 5
SCRATCH_EPOCHS ?= 8

.PHONY: compare-pretraining-vqa-med
compare-pretraining-vqa-med: $(STAMP) ## VQA-Med-2019 in ROOT, validation: with and without pre-training on its captions
	$(need_root)
	@set -e; for seed in $(SEEDS); do \
	  pretrained="pretrain-vqa_med_2019-$(SIZE)"; \
	  if [ ! -f "$(RUNS)/vqa_med_2019-$(SIZE)-pretrained/clean/seed$$seed/result-validation.json" ]; then \
	    $(call fit_seed,$$pretrained,clean,--config experiments/pretrain/vqa_med_2019.yaml \
	      --config experiments/size/$(SIZE).yaml --trainer.max_epochs $(PRETRAIN_EPOCHS) \
	      --data.init_args.source.init_args.root "$(ROOT)"); \
	  fi; \
	  $(call one_seed,vqa_med_2019-$(SIZE)-pretrained,clean,validation,--config experiments/vqa/vqa_med_2019.yaml \
	    $(ANSWERING_SIZE) --data.init_args.root "$(ROOT)" --data.init_args.test_split validation \
	    --trainer.max_epochs $(FINETUNE_EPOCHS) \
	    --model.init_args.init_from "$(RUNS)/$$pretrained/clean/seed$$seed/best.ckpt"); \
	  $(call one_seed,vqa_med_2019-$(SIZE)-scratch,clean,validation,--config experiments/vqa/vqa_med_2019.yaml \
	    $(ANSWERING_SIZE) --data.init_args.root "$(ROOT)" --data.init_args.test_split validation \
	    --trainer.max_epochs $(SCRATCH_EPOCHS)); \
	done
	$(call report_on,$(RUNS),--baseline vqa_med_2019-$(SIZE)-scratch)

# Steps of every run, so that all train equally long; a mixture of two sets shows each half as often.
MIXTURE_STEPS ?= 500
MIXTURE_RUN = $(ANSWERING_SIZE) --trainer.max_epochs -1 --trainer.max_steps $(MIXTURE_STEPS) \
  --trainer.check_val_every_n_epoch null --trainer.val_check_interval 100
RAD_PART = {"class_path": "VQARAD", "init_args": {"root": "$(VQA_RAD)"}}
# A comma in the text of a $(call) would end its argument; one in a variable does not.
MIXTURE_PARTS = [$(RAD_PART), $(MED_PART)]
MED_PART = {"class_path": "VQAMed2019", "init_args": {"root": "$(VQA_MED)", "test_split": "validation"}}

.PHONY: compare-mixture
compare-mixture: $(STAMP) ## validation of VQA-RAD (VQA_RAD=FOLDER) and VQA-Med-2019 (VQA_MED=FOLDER): alone and together
	@test -n "$(VQA_RAD)" -a -n "$(VQA_MED)" || { \
	  echo "give both folders: make $@ VQA_RAD=FOLDER VQA_MED=FOLDER" >&2; exit 2; }
	@set -e; for seed in $(SEEDS); do \
	  $(call fit_seed,mixture-vqa_rad,clean,--config experiments/vqa/vqa_rad.yaml $(MIXTURE_RUN) \
	    --data.init_args.root "$(VQA_RAD)"); \
	  $(call fit_seed,mixture-vqa_med_2019,clean,--config experiments/vqa/vqa_med_2019.yaml $(MIXTURE_RUN) \
	    --data.init_args.root "$(VQA_MED)" --data.init_args.test_split validation); \
	  $(call fit_seed,mixture-both,clean,--config experiments/vqa/vqa_rad_and_vqa_med_2019.yaml $(MIXTURE_RUN) \
	    --data.init_args.parts '$(subst ','\'',$(MIXTURE_PARTS))'); \
	done
	@# Each set's own validation questions, with its own candidates; no test set is read.
	@$(BIN)/python benchmarks/measures/validation.py "$(RUNS)/mixture-vqa_rad/clean" "$(RUNS)/mixture-both/clean" \
	  --config experiments/vqa/vqa_rad.yaml $(ANSWERING_SIZE) --data.init_args.root "$(VQA_RAD)"
	@$(BIN)/python benchmarks/measures/validation.py "$(RUNS)/mixture-vqa_med_2019/clean" "$(RUNS)/mixture-both/clean" \
	  --config experiments/vqa/vqa_med_2019.yaml $(ANSWERING_SIZE) --data.init_args.root "$(VQA_MED)" \
	  --data.init_args.test_split validation

# $(call reproduce,DATA,SPLIT,OPTIONS): train and test every seed on ROOT, print the table. The split is part of
# the name: what is scored on one may have chosen checkpoints on the other.
reproduce_name = $(1)-$(SIZE)$(if $(2),-$(2))$(if $(INIT_FROM),-pretrained)
reproduce_run = --config experiments/vqa/$(1).yaml $(ANSWERING_SIZE) --data.init_args.root "$(ROOT)" \
  $(if $(2),--data.init_args.test_split $(2)) --data.init_args.protocol $(PROTOCOL) \
  $(if $(INIT_FROM),--model.init_args.init_from "$(INIT_FROM)")
define reproduce
	$(need_root)
	$(call train_and_test,$(reproduce_name),$(or $(2),test),$(reproduce_run))
endef

.PHONY: reproduce-vqa-rad
reproduce-vqa-rad: $(STAMP) ## VQA-RAD in ROOT: train and test every seed, print the table
	@# No validation set is released, so there is only one split to score.
	@test "$(or $(SPLIT),test)" = test || { echo "VQA-RAD has no validation set: SPLIT=test" >&2; exit 2; }
	$(call reproduce,vqa_rad,)

.PHONY: reproduce-slake
reproduce-slake: $(STAMP) ## SLAKE (English) in ROOT: train and test every seed, print the table
	$(call reproduce,slake,$(or $(SPLIT),test))

.PHONY: reproduce-path-vqa
reproduce-path-vqa: $(STAMP) ## PathVQA in ROOT: train and test every seed, print the table
	$(call reproduce,path_vqa,$(or $(SPLIT),test))

.PHONY: reproduce-vqa-med
reproduce-vqa-med: $(STAMP) ## VQA-Med-2019 in ROOT: train and test every seed, print the table (SPLIT: validation)
	$(call reproduce,vqa_med_2019,$(or $(SPLIT),validation))

# A corpus of experiments/pretrain/: the paper's three together (their folders stand in the file), or one in ROOT.
CORPUS ?= mixture
CORPUS_ROOT = $(if $(ROOT),--data.init_args.$(if \
  $(filter vqa_med_2019 base,$(CORPUS)),source.init_args.)root "$(ROOT)")

PRETRAIN_NAME = pretrain-$(CORPUS)-$(SIZE)$(if $(STAGE),-$(STAGE))$(if $(INIT_FROM),-pretrained)
# At size base the experiment is complete; that overlay's learning rate is for fine-tuning.
PRETRAIN_RUN = --config experiments/pretrain/$(CORPUS).yaml \
  $(if $(filter tiny,$(SIZE)),--config experiments/size/tiny.yaml) \
  $(if $(STAGE),--config experiments/stage/$(STAGE).yaml) $(CORPUS_ROOT) \
  $(if $(INIT_FROM),--model.init_args.init_from "$(INIT_FROM)")
# Corpora without a test split: the best checkpoint's scores on validation are printed instead of a table.
UNTESTED = base medicat vqa_med_2019

.PHONY: reproduce-pretrain
# Studies have no candidates, so there is one protocol.
reproduce-pretrain: override PROTOCOL := clean
reproduce-pretrain: $(STAMP) ## pre-train on CORPUS in ROOT (mixture, released: folders stand in its file), search its test split
	@test -f experiments/pretrain/$(CORPUS).yaml || { \
	  echo "CORPUS is one of: $(basename $(notdir $(wildcard experiments/pretrain/*.yaml)))" >&2; exit 2; }
	@test -z "$(ROOT)" -o -z "$(filter mixture released,$(CORPUS))" || { \
	  echo "CORPUS=$(CORPUS) has no ROOT: its folders stand in experiments/pretrain/$(CORPUS).yaml" >&2; exit 2; }
	@test -z "$(STAGE)" -o -f "experiments/stage/$(STAGE).yaml" || { echo "STAGE is global or local" >&2; exit 2; }
ifeq ($(filter $(UNTESTED),$(CORPUS)),)
	$(call train_and_test,$(PRETRAIN_NAME),test,$(PRETRAIN_RUN))
else
	@set -e; for seed in $(SEEDS); do \
	  $(call fit_seed,$(PRETRAIN_NAME),clean,$(PRETRAIN_RUN)); $(AMIF) validate "$$@" --ckpt_path best; \
	done
	$(dashboard)
endif

# What each part is worth, by overlays of experiments/ablation/: equal steps, batches and rates.
DATA ?= phantom
GLOBAL_ABLATIONS ?= without_transport contextual_transport hard_labels without_view_view without_text_text
LOCAL_ABLATIONS ?= random_negatives hard_negatives matched_transport weak_matched_transport
ANSWERING_PARTS ?= without_gate vocabulary_answers without_knowledge auxiliary_alignment
# On the phantoms these are left out, for the rest takes long enough: ANSWERING_ABLATIONS="without_gate" asks for them.
ANSWERING_ABLATIONS ?= $(if $(filter phantom,$(DATA)),,$(ANSWERING_PARTS))
# Answering from random weights trains longer: in the time of all three stages.
SCRATCH_STEPS ?= 1720
# phantom: all stages; one run of stage global a seed feeds all variants of what comes after it. Another set (vqa_rad,
# slake, path_vqa, vqa_med_2019) in ROOT: answering alone, from INIT_FROM where it is given.
ABLATED_SPLIT = $(if $(filter vqa_rad,$(DATA)),,$(or $(SPLIT),$(if $(filter vqa_med_2019,$(DATA)),validation,test)))
ABLATED = $(call reproduce_name,$(DATA),$(ABLATED_SPLIT))

# Overlays of $$variant in $$parts; several are joined by "-", such as pointer_loss-without_gate.
define answering_parts
  parts=""; for part in $$(echo "$$variant" | tr "-" " "); do \
    parts="$$parts --config experiments/ablation/vqa/$$part.yaml"; done
endef

.PHONY: ablations
ifeq ($(DATA),phantom)
ablations: $(STAMP) ## phantoms, or DATA in ROOT: the method without each of its parts, and the comparison
	@set -e; for seed in $(SEEDS); do \
	  $(call one_seed,pretrain-phantom,clean,test,$(PHANTOM_GLOBAL)); \
	  $(call one_seed,pretrain-phantom-local,clean,test,$(PHANTOM_LOCAL) $(call after,pretrain-phantom)); \
	  for variant in $(LOCAL_ABLATIONS); do \
	    $(call one_seed,pretrain-phantom-local-$$variant,clean,test,$(PHANTOM_LOCAL) \
	      --config experiments/ablation/pretrain/$$variant.yaml $(call after,pretrain-phantom)); \
	  done; \
	  $(call one_seed,pretrain-phantom-joint,clean,test,$(PHANTOM_GLOBAL) \
	    --config experiments/stage/phantom_joint.yaml); \
	  for variant in $(GLOBAL_ABLATIONS); do \
	    $(call one_seed,pretrain-phantom-$$variant,clean,test,$(PHANTOM_GLOBAL) \
	      --config experiments/ablation/pretrain/$$variant.yaml); \
	  done; \
	  $(call one_seed,vqa-phantom-pretrained,clean,test,$(PHANTOM_ANSWERING) $(call after,pretrain-phantom-local)); \
	  $(call one_seed,vqa-phantom-from-scratch,clean,test,$(PHANTOM_ANSWERING) --trainer.max_steps $(SCRATCH_STEPS)); \
	  $(call one_seed,pretrain-phantom-local-hard_labels,clean,test,$(PHANTOM_LOCAL) \
	    --config experiments/ablation/pretrain/hard_labels.yaml $(call after,pretrain-phantom-hard_labels)); \
	  $(call one_seed,vqa-phantom-from-hard_labels,clean,test,$(PHANTOM_ANSWERING) \
	    $(call after,pretrain-phantom-local-hard_labels)); \
	  for variant in $(ANSWERING_ABLATIONS); do $(answering_parts); \
	    $(call one_seed,vqa-phantom-pretrained-$$variant,clean,test,$(PHANTOM_ANSWERING) \
	      $$parts $(call after,pretrain-phantom-local)); \
	  done; \
	done
	$(call report_on,$(RUNS),--baseline pretrain-phantom --baseline pretrain-phantom-local \
	  --baseline vqa-phantom-pretrained)
	$(dashboard)
else
ablations: $(STAMP)
	$(need_root)
	@set -e; for seed in $(SEEDS); do \
	  $(call one_seed,$(ABLATED),$(PROTOCOL),$(or $(ABLATED_SPLIT),test),$(call reproduce_run,$(DATA),$(ABLATED_SPLIT))); \
	  for variant in $(ANSWERING_ABLATIONS); do $(answering_parts); \
	    $(call one_seed,$(ABLATED)-$$variant,$(PROTOCOL),$(or $(ABLATED_SPLIT),test),$(call \
	      reproduce_run,$(DATA),$(ABLATED_SPLIT)) $$parts); \
	  done; \
	done
	$(call report_on,$(RUNS),--baseline $(ABLATED))
	$(dashboard)
endif

# Composed answers: each part of the reading of the vocabulary, and the same weights ranked and generated.
COMPOSED_VARIANTS ?= "" -pointer_loss -without_knowledge -without_gate -pointer_loss-without_gate
PHANTOM_COMPOSED = $(PHANTOM_ANSWERING) --config experiments/ablation/vqa/compositional.yaml

.PHONY: compositions
compositions: $(STAMP) ## phantoms asked for composed answers: with and without vocabulary, pointer loss and gate
	@set -e; for seed in $(SEEDS); do \
	  $(call one_seed,pretrain-phantom,clean,test,$(PHANTOM_GLOBAL)); \
	  $(call one_seed,pretrain-phantom-local,clean,test,$(PHANTOM_LOCAL) $(call after,pretrain-phantom)); \
	  for variant in $(COMPOSED_VARIANTS); do \
	    name="vqa-phantom-compositional$$variant"; $(answering_parts); \
	    $(call one_seed,$$name,clean,test,$(PHANTOM_COMPOSED) $$parts $(call after,pretrain-phantom-local)); \
	    weights="$(RUNS)/$$name/clean/seed$$seed/best.ckpt"; \
	    if [ -f "$(RUNS)/$$name-generated/clean/seed$$seed/result-test.json" ]; then \
	      echo "$$name-generated, seed $$seed, is finished: skipped"; else \
	      $(AMIF) test $(PHANTOM_COMPOSED) $$parts --model.init_args.answer_by generate --runs "$(RUNS)" \
	        --experiment "$$name-generated" --seed_everything $$seed $(EXTRA) --ckpt_path "$$weights"; fi; \
	  done; \
	done
	$(call report_on,$(RUNS),--baseline vqa-phantom-compositional --baseline vqa-phantom-compositional-without_knowledge-generated)
	$(dashboard)

.PHONY: report
report: $(STAMP) ## results table of all runs below RUNS, and the page RUNS/report.html
	$(call report_on,$(RUNS))

.PHONY: tensorboard
tensorboard: $(STAMP) ## TensorBoard on RUNS at http://127.0.0.1:PORT, for this machine alone
	@echo "TensorBoard on $(RUNS): http://127.0.0.1:$(PORT)/   (Ctrl-C ends it)"
	@$(BIN)/tensorboard --logdir "$(RUNS)" --host 127.0.0.1 --port $(PORT)

.PHONY: benchmark
benchmark: $(STAMP) ## speed and memory, each against a plain formulation of the same work
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

# ---- checks ----------------------------------------------------------------------------------------
# A file's tests share fixtures, so a file stays in one process; each has one thread, as they share the cores.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

.PHONY: test
test: $(STAMP) ## all tests but the slow ones and those on real data
	$(PYTEST) -m "not slow and not real_data"

.PHONY: test-all
test-all: test ## all tests; with AMIF_DATA=FOLDER also those on real data
	# One at a time: some hold a stopwatch, some use all cores.
	$(BIN)/python -m pytest -q -m "slow $(if $(AMIF_DATA),or,and not) real_data"

.PHONY: golden
golden: $(STAMP) ## rewrite the numbers of tests/golden.json; their commit says why they moved
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
format: $(STAMP) ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: type
type: $(STAMP) ## mypy
	$(BIN)/mypy

.PHONY: clean
clean: ## delete caches and build outputs (never runs or data)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src data_modules tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
