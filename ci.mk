# What CI runs, and anybody can: the steps of .github/workflows (docs/ci.md).
# Values come from the environment, as "$$NAME", so that no text in them is taken for a command.
.PHONY: pull compare committed register push retrain secrets audit sbom

pull: install ## what DVC's remote has of this commit: data, outputs, the runs of its cache
	dvc pull --run-cache --allow-missing

compare: setup ## the model against the git revision BASE (main), for a pull request: ci-report/
	@rm -rf ci-report && mkdir ci-report
	@python src/report.py --markdown --against="$${BASE:-main}" > ci-report/report.md
	@python src/draw.py ci-report/plots
	@echo ci-report/report.md

# `evaluate` runs even if DVC knows its result: its gate compares with the production model of this store.
# What the pipeline makes is looked at before: a server gets no model that no commit describes.
register: committed ## evaluate the committed model against this store's production, register it, set staging
	dvc repro --force --single-item evaluate
	@$(UNCHANGED)

UNCHANGED = git diff --exit-code -- dvc.lock reports/metrics.json || { echo "error: the pipeline does not make what is committed; \`dvc repro\` and commit dvc.lock" >&2; exit 1; }

committed: setup ## run the pipeline on this machine's own store; fails if it does not make what is committed
	@MLFLOW_TRACKING_URI= $(MAKE) --no-print-directory repro
	@$(UNCHANGED)

push: install ## data, outputs and DVC's run cache to the remote
	dvc push --run-cache

retrain: setup ## train on the newest table, from where `dvc import-url` took it
	@grep -q '^deps:' data/raw.parquet.dvc || { echo "error: data/raw.parquet.dvc does not say where the table comes from; \`dvc import-url --force URL data/raw.parquet\` fetches it from there" >&2; exit 1; }
	dvc update data/raw.parquet.dvc
	dvc repro
	@python src/report.py

# only operations
.PHONY: promote image
promote: setup ## make VERSION production, with a REASON (BY: who decided)
	@test -n "$$VERSION" && test -n "$$REASON" || { echo 'error: make promote VERSION=3 REASON="higher value"' >&2; exit 1; }
	@python src/promote.py --stage="$$VERSION"
	@python src/promote.py --reason="$$REASON" --by="$$BY" --version="$$VERSION" --yes

image: setup ## a container image of the production model (docs/serving.md)
	@python src/image.py
	@command -v docker >/dev/null || { echo "error: docker is not here; \`docker build build/image\` elsewhere needs that folder alone" >&2; exit 1; }
	docker build --tag "$${IMAGE:-churn-model}" build/image
# end

# The md5s of DVC and MLflow are the hexadecimal numbers of this project. What is no secret is marked in its line
# (`pragma: allowlist secret`).
secrets: install-lint ## passwords and keys in the files of git (detect-secrets)
	@git ls-files -z -- ':!requirements*.txt' | xargs -0 $(LINT)/bin/detect-secrets-hook \
	  --disable-plugin HexHighEntropyString --exclude-lines 'make [a-z ]*secrets'

audit: install-lint ## known faults of the pinned packages (asks PyPI's list: needs a network)
	$(LINT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt
	$(LINT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements-team.txt

sbom: install-lint ## the pinned packages as a CycloneDX list, sbom.json
	@PYTHONWARNINGS=ignore $(LINT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.json requirements.txt
	@echo sbom.json
