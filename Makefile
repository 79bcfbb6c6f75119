# Every target works on a bare machine: python3 >= 3.11, make and git are all it needs.
VENV ?= .venv
PYTHON ?= python3
# uv where it is installed, else pip; `make test INSTALLER=pip` chooses.
INSTALLER ?= $(if $(shell command -v uv),uv,pip)

export PATH := $(abspath $(VENV))/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY ?= true

.DEFAULT_GOAL := help
.PHONY: help install setup repro test test-fast lint types ui plots card doctor lock clean reset

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 13

# The lock that the environment is made from. `make install-team` takes that of a team, which is requirements.txt and a
# few packages more; from then on `make install` keeps to it.
LOCK ?= $(if $(wildcard $(VENV)/requirements-team.txt),requirements-team.txt,requirements.txt)

# The environment is rebuilt when the lock is no longer the one it was made from.
install: ## environment from the hashed lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: python3 is " + sys.version.split()[0] + "; 3.11 or later is needed (make PYTHON=... names another)")'
	@case "$${PATH%%:*}" in *%*) echo "error: MLflow opens no database from an environment whose path has a %; \`export VENV=~/.venvs/churn\`, then make again" >&2; exit 1;; esac
	@cmp -s $(LOCK) $(VENV)/$(LOCK) || { \
	  echo "$(INSTALLER) installs the $$(grep -c '^[a-z].*==' $(LOCK)) packages of $(LOCK) into $(VENV), once; this takes minutes ..."; \
	  $(MAKE) --no-print-directory install-$(INSTALLER); }

setup: install ## the environment, the MLflow store, the offline page for plots
	@python src/init.py

.PHONY: install-uv install-pip
install-uv:
	@uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	@uv pip install --compile-bytecode --python $(VENV) --require-hashes -r $(LOCK)
	@cp requirements.txt $(VENV); cp $(LOCK) $(VENV)

install-pip:
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes -r $(LOCK)
	@cp requirements.txt $(VENV); cp $(LOCK) $(VENV)

repro: setup ## run the pipeline: data, splits, model, evaluation, registration
	@test -f data/raw.parquet || python src/launch.py table
	@git symbolic-ref --quiet HEAD >/dev/null || \
	  test "$$(git rev-parse --quiet --verify refs/exps/exec/EXEC_BASELINE || echo none)" != "$$(git rev-parse HEAD)" || \
	  python src/report.py
	dvc repro
	@python src/report.py

test: setup ## run the tests
	python -m pytest

test-fast: setup ## run the tests that need no process and no store
	python -m pytest tests/unit --numprocesses=0

# The linters have an environment of their own: they are no part of what makes a model.
LINT := $(VENV)-lint
LINT_FILES = $(wildcard src tests deploy benchmarks cookiecutter)
.PHONY: install-lint
install-lint: install
	@cmp -s requirements-lint.txt $(LINT)/requirements-lint.txt || { \
	  $(MAKE) --no-print-directory install-$(INSTALLER) LOCK=requirements-lint.txt VENV=$(LINT); }

lint: install-lint ## check style (ruff), direction of imports (import-linter), workflows (zizmor)
	$(LINT)/bin/ruff check $(LINT_FILES)
	$(LINT)/bin/ruff format --check $(LINT_FILES)
	PYTHONPATH=src $(LINT)/bin/lint-imports
	@test ! -d .github || $(LINT)/bin/zizmor --offline --no-progress --quiet --strict-collection .github
# only operations
	$(LINT)/bin/hadolint Dockerfile
# end

types: install-lint ## check the types of src/churn (mypy, strict)
	$(LINT)/bin/mypy --python-executable $(VENV)/bin/python

ui: setup ## MLflow's web page on http://127.0.0.1:5000 (PORT=... chooses)
	@PYTHONPATH=src python -c 'from churn.tracking import mlflow_page, store; print("the runs:", mlflow_page.page_link("http://127.0.0.1:$(or $(PORT),5000)", store.connect()))'
	mlflow ui --host 127.0.0.1 --port $(or $(PORT),5000) --workers 1 \
	  --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" \
	  --default-artifact-root "$$(python -c 'from pathlib import Path; print(Path("mlartifacts").absolute().as_uri())')"

# only operations
.PHONY: serve
serve: setup ## the production model over HTTP on http://127.0.0.1:5001 (PORT=... chooses)
	python src/serve.py --port $(or $(PORT),5001)
# end

card: setup ## the model card as a page, reports/model_card.html
	@python src/card.py

doctor: install ## say what keeps this clone from working, and what mends it
	@python src/doctor.py

.PHONY: gc
gc: setup ## delete for good what is marked deleted in MLflow, and what nothing names in DVC's cache (asks; YES=1 does not)
	@python src/clean_up.py $(if $(YES),--yes)

# docs/team.md
.PHONY: install-team team-up team-down team-remote
install-team: ## environment from the lock of a team (PostgreSQL, S3)
	@$(MAKE) --no-print-directory install LOCK=requirements-team.txt

team-up: install-team ## PostgreSQL, a bucket and MLflow's server on this machine, in .team
	@python deploy/services.py up

team-down: ## end what `make team-up` started; the data stays
	@python deploy/services.py down

team-remote: install-team ## let DVC push to and pull from URL=s3://BUCKET/PATH, and commit that
	@test -n "$(URL)" || { echo "error: name the bucket: make team-remote URL=s3://BUCKET/PATH" >&2; exit 1; }
	@dvc remote add --quiet --force --default team "$(URL)"
	@dvc remote modify --quiet team verify true
	@git diff --quiet HEAD -- .dvc/config || git commit --quiet --message "DVC's default remote is $(URL)" -- .dvc/config
	@echo "DVC's default remote is $(URL), committed in .dvc/config; \`dvc push\` sends what is here"

plots: setup ## draw the plots into dvc_plots/index.html, to be opened offline
	dvc plots show

# The lock of a team has the versions of requirements.txt, but for python-dateutil: botocore (S3) needs an older one.
lock: ## make requirements*.txt and conda.yaml from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra test --universal --fork-strategy fewest --generate-hashes \
	  --no-annotate --no-emit-index-url --custom-compile-command 'make lock' --quiet --output-file requirements.txt
	sed -E 's/ *\\$$//; /^ +--hash/d; /^python-dateutil==/d' requirements.txt | \
	  uv pip compile pyproject.toml --extra test --extra team --constraints /dev/stdin --universal --fork-strategy fewest --generate-hashes \
	  --no-annotate --no-emit-index-url --custom-compile-command 'make lock' --quiet --output-file requirements-team.txt
	uv pip compile --group lint --universal --generate-hashes \
	  --no-annotate --no-emit-index-url --custom-compile-command 'make lock' --quiet --output-file requirements-lint.txt
	$(PYTHON) -c "$$CONDA" > conda.yaml

define CONDA
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("# Made from pyproject.toml by `make lock`; read by `mlflow run`.")
print(f"name: {project['name']}\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:")
print("\n".join(f"      - {pin}" for pin in project["dependencies"]))
endef
export CONDA

include ci.mk

clean: ## remove what `dvc repro` makes again (data, caches and the MLflow store stay)
	rm -rf data/prepared models/*.ubj reports/plots dvc_plots build ci-report sbom.json .pytest_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# Commits are kept in a branch, environment, remote folder and local settings where they are.
KEPT = --exclude=/$(VENV) --exclude=/$(LINT) --exclude=/storage --exclude=/.team --exclude=/.dvc/config.local
reset: ## back to the state after `git clone`: data, models, runs, experiments and changes are deleted (asks; YES=1 does not)
	@test -z "$$(git rev-parse --show-prefix)" || { echo "error: this project is a folder of a bigger repository, and \`make reset\` would take the files of others with it; \`git checkout . && dvc checkout --force dvc.yaml\` undoes an experiment" >&2; exit 1; }
	@git clean -ndx $(KEPT); git status --short --untracked-files=no
	@echo "These files and changes, the MLflow store, DVC's cache and all experiments will be gone for good."
	@echo "Commits that the upstream branch does not have stay in a branch before-reset-..."
	@test -n "$(YES)" || { printf 'reset? [y/N] '; read answer; test "$$answer" = y; } || { echo "nothing was changed"; exit 1; }
	@git for-each-ref --format='delete %(refname)' refs/exps | git update-ref --stdin
	@start=$$(git rev-parse --quiet --verify '@{upstream}' || git rev-parse HEAD); \
	  test "$$start" = "$$(git rev-parse HEAD)" || { \
	  kept=before-reset-$$(git rev-parse --short HEAD); \
	  git branch --force $$kept && echo "the commits since then are in the branch $$kept"; }; \
	  git reset --quiet --hard "$$start"
	@git clean -fdxq $(KEPT)
