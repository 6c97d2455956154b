# Needs only Python (3.11 or newer) and make. Every target makes its own .venv from the lock file.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
JOBS   ?= auto
# Slow tests that wait for other processes, or only count; the rest measure, and want the machine for themselves.
WAITING := $(addprefix tests/,chaos cmd controllers deploy docs membership tools runtime/informer runtime/manager \
             runtime/scaffold runtime/testing runtime/workqueue)
ARGS   ?=
IMAGE  ?= ghcr.io/xline-kv/xline-operator:v0.1.0
DOCKER ?= docker

.DEFAULT_GOAL := help
.PHONY: help run demo test test-slow check docs format bench soak failover wheel sbom image lock clean generate

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 15) else "Python 3.11 to 3.14 is needed, $(PYTHON) is " + sys.version.split()[0] + "; set PYTHON=python3.x")'
	@echo "installing into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

run: $(STAMP) ## API server, operator and a three-member XlineCluster on this machine, until Ctrl-C
	@$(PY) -m cmd.controller --standalone --standalone-dir .run $(ARGS)

demo: $(STAMP) ## the same as a tour that ends by itself: create, write, kill -9, recover, scale 3 -> 5 -> 3, delete
	@$(PY) -m cmd.controller --demo $(ARGS)

test: $(STAMP) ## all tests but the slow ones
	@$(PY) -m pytest -q -n $(JOBS) -m "not slow" $(ARGS)

test-slow: $(STAMP) ## the slow tests
	@$(PY) -m pytest -q -n $(JOBS) -m slow $(WAITING) $(ARGS)
	@$(PY) -m pytest -q -m slow $(addprefix --ignore=,$(WAITING)) $(ARGS)

check: $(STAMP) ## ruff, mypy --strict, the import contract, generated files
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) tools/mypy.py
	@$(VENV)/bin/lint-imports --no-cache
	@$(PY) -m cmd.crds check
	@$(PY) tools/protos.py --check
	@$(PY) tools/licences.py --check

docs: $(STAMP) ## the pages and the reference as a site in docs/_build; a link that leads nowhere fails it
	@$(PY) -m sphinx -W --keep-going -q -E -b html docs docs/_build

format: $(STAMP) ## let ruff rewrite the tree
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

generate: $(STAMP) ## write the CRD manifests, the gRPC messages and the table of licences again from their sources
	@$(PY) -m cmd.crds print --output crds
	@$(PY) tools/protos.py
	@$(PY) tools/licences.py

bench: $(STAMP) ## speed beside its peers in one run, and whether the goals are met (10 minutes; ARGS=--quick: one)
	@$(PY) -m bench $(ARGS)

soak: $(STAMP) ## half an hour of every kind of fault: does anything grow? (ARGS=--minutes=5)
	@$(PY) -m tools.soak $(ARGS)

failover: $(STAMP) ## kill -9 the leader a hundred times, and how long nobody leads (4 minutes)
	@$(PY) -m tests.runtime.leaderelection.failover $(ARGS)

wheel: $(STAMP) ## the wheel, in dist/: the same bytes wherever it is built
	@$(PY) tools/supply.py wheel

sbom: $(STAMP) ## the wheel, and a bill of materials of what the image holds (CycloneDX), in dist/
	@$(PY) tools/supply.py sbom

image: wheel ## the container image (DOCKER=podman or buildah; IMAGE=name:tag, ARGS=--build-arg=PYTHON_IMAGE=...)
	$(DOCKER) build --file deploy/Dockerfile --tag $(IMAGE) $(ARGS) .

lock: $(STAMP) ## resolve requirements.lock again from pyproject.toml
	@$(PY) -m pip install --quiet uv
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --no-emit-package xline-operator pyproject.toml -o requirements.lock
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --extra s3 --extra tls --constraint requirements.lock \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --no-emit-package xline-operator \
	  pyproject.toml -o deploy/requirements.lock
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --group tools --constraint requirements.lock \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" -o deploy/tools.lock

clean: ## remove what make made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
