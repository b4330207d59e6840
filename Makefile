# `make` alone prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
export UV_PYTHON := $(PYTHON)

help: ## show this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1|/' | column -t -s '|'

demo: setup ## a patrol, seen, spoken and reported, in about a minute, on this machine alone
	@$(BIN)/edge-agent demo $(ARGS)

test: check test-packages ## everything that must hold: check + the tests that meet real servers (under 20 minutes)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-demo test-servers

# Both mostly wait for clocks, so they run side by side.
test-demo:
	@tests/twice.sh demo -m integration tests/integration/test_demo.py $(ARGS)

test-servers:
	@tests/twice.sh servers -m integration --ignore=tests/integration/test_demo.py $(ARGS)

test-rootfs: setup-dev ## a Debian of its own under its own systemd, from install and enrol to uninstall (root; 6 minutes; SUITE=trixie)
	@tests/rootfs/prove.sh

test-arm64: setup-dev ## the wheels of a Pi under emulation: check, a model, a picture (root; 5 minutes)
	@PYTHON=$(BIN)/python tests/rootfs/arm64.sh

faults: setup-dev test-packages ## every fault we can play, 20,000 events each, nothing lost (under 20 minutes; FAULTS_EVENTS=2000 for less)
	@FAULTS_JSON=build/faults.json $(BIN)/pytest tests/faults -m faults -rs $(ARGS)

sitl: setup-dev ## fly the scenarios on real ArduCopter (ARDUCOPTER=/path/arducopter; SCENARIO=07 SEED=3 JOBS=2 for less)
	@$(BIN)/python -m sitl run $(SCENARIO) --seed $(or $(SEED),1) --jobs $(or $(JOBS),4) $(ARGS)

bench-sitl: setup-dev ## on real ArduCopter: dispatch to lift-off, re-attachment after a kill; into docs/PERFORMANCE.md (8 minutes)
	@unshare -n sh -c 'ip link set lo up && PYTHONPATH=. exec $(BIN)/python bench/flights.py $(ARGS)'

bench: setup-dev test-packages build/bench/site ## the uplink's figures beside its peers', into docs/PERFORMANCE.md (about 10 minutes)
	@$(BIN)/python bench/uplink.py $(ARGS)

mutants: setup-dev ## is every condition of the only road to the vehicle tested? 100 % of branches, every mutant killed (3 minutes)
	@mkdir -p build
	@$(BIN)/coverage run --data-file=build/safety.coverage --branch -m pytest -q tests/flight/test_safety*.py >/dev/null
	@$(BIN)/coverage report --data-file=build/safety.coverage --include=edge_agent/flight/safety.py --fail-under=100 --show-missing
	@$(BIN)/python tests/mutants.py edge_agent/flight/safety.py tests/flight/test_safety*.py

bench-flight: setup-dev build/bench/mavsdk ## the link's figures beside mavutil and MAVSDK (with ARDUCOPTER=… about 25 minutes)
	@$(BIN)/python bench/flight.py $(ARGS)

bench-plate-models: setup-dev build/bench/rapidocr ## our plate models beside RapidOCR (MEDIA=DIR with labelled pictures; MODELS=DIR PLATE_FREE=DIR for more)
	@$(BIN)/python bench/plate_models.py --media $(MEDIA) $(if $(MODELS),--models $(MODELS)) $(if $(PLATE_FREE),--plate-free $(PLATE_FREE)) $(ARGS)

bench-detectors: setup-dev ## our detectors beside public ones (DATA=DIR with the training sets; MODELS=DIR with ONNX files)
	@$(BIN)/python bench/detectors.py --data $(DATA) $(if $(MODELS),--models $(MODELS)) $(ARGS)

# `make train-smoke TORCH=cpu` takes PyTorch's own CPU build, which is smaller; without it PyPI's, which runs as well.
build/training/ready: training/requirements.txt | $(UV)
	@$(UV) venv --quiet --clear --python $(PYTHON) build/training
	@$(UV) pip install --quiet --python build/training/bin/python $(if $(TORCH),--torch-backend $(TORCH)) -r $<
	@touch $@

train-smoke: train-smoke-plates train-smoke-people ## each training for a moment, on the CPU, to see that it runs (2 minutes)

train-smoke-people: build/training/ready setup-dev  # on drawn pictures alone, from nothing: it learns little
	@$(BIN)/python -m training.people.rendered build/smoke/sets/rendered_scene 40
	@build/training/bin/python -m training.people.train training/people/smoke.toml --data build/smoke/sets --out build/smoke/person-vehicle --minutes 0.5
	@build/training/bin/python -m training.people.export build/smoke/person-vehicle/last.pt training/people/smoke.toml build/smoke/person-vehicle.onnx
	@$(BIN)/edge-agent models check build/smoke/person-vehicle.onnx

train-smoke-plates: build/training/ready
	@build/training/bin/python -m training.plates.train_reader --out build/smoke/plate-reader --steps 60 --every 30 --minutes 0.7
	@build/training/bin/python -m training.plates.train_detector --out build/smoke/plate-detector --steps 30 --every 15 --minutes 0.7
	@build/training/bin/python -m training.plates.export reader build/smoke/plate-reader build/smoke/plate-reader.onnx
	@build/training/bin/python -m training.plates.export detector build/smoke/plate-detector build/smoke/plate-detector.onnx

bench-vision: setup-dev build/bench/vision ## the eyes' figures beside supervision's (2 minutes)
	@$(BIN)/python bench/vision.py $(ARGS)

bench-voice: setup-dev test-packages ## the voice's figures: latency, pace, how the sound arrives, into docs/PERFORMANCE.md (3 minutes)
	@$(BIN)/python bench/voice.py $(ARGS)

check: setup-dev ## lint, types and unit tests (80 seconds on two cores)
	@$(MAKE) --no-print-directory --jobs=5 --output-sync=target check-eyes check-flight check-voice check-rest check-types

check-types:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Parts side by side: half of their time is waiting.
UNIT := -m "not integration and not faults"
check-flight:
	@tests/twice.sh flight $(UNIT) tests/flight tests/sitl tests/plans $(ARGS)

check-eyes:
	@tests/twice.sh eyes $(UNIT) tests/vision tests/training $(ARGS)

check-voice:
	@tests/twice.sh voice $(UNIT) tests/speakers $(ARGS)

check-rest:
	@tests/twice.sh rest $(UNIT) $(addprefix --ignore=tests/,flight sitl plans vision speakers training) $(ARGS)

contract: setup-dev ## the contract's documents, from the message types, into docs/contract
	@$(BIN)/edge-agent contract docs/contract --examples tests/golden/v1

setup: .venv/.demo ## .venv with what the agent and the demo need, as locked in uv.lock

setup-dev: .venv/.dev ## the same, and what the tests need

lock: $(UV) ## resolve the dependencies of pyproject.toml anew
	@$(UV) lock

format: setup-dev ## put the sources into shape
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

test-packages: | $(UV) ## what the tests want: Debian packages (installed where we are root, else named), servers in build/
	@tests/packages.sh
	@tests/peers.sh $(UV) $(PYTHON)

clean: ## forget what was built and installed here
	rm -rf .venv .tools build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

build/bench/site: bench/requirements.txt | $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --target $@ -r $< && touch $@

build/bench/vision: bench/requirements-vision.txt | $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --target $@ -r $< && touch $@

build/bench/rapidocr: | $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --target $@ rapidocr==3.10.0

build/bench/mavsdk: | $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python --target $@ mavsdk==4.1.0

.venv/.demo: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --quiet --frozen --inexact --extra demo && touch $@

.venv/.dev: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --quiet --frozen --inexact --extra demo --extra rapidocr --extra dev && touch .venv/.demo $@

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, and $(PYTHON) is older; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv ca-certificates >/dev/null; \
	  else echo "python3-venv is missing; run: sudo apt-get install python3-venv ca-certificates"; exit 1; fi; }
	@$(PYTHON) -m venv .tools && .tools/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

export ARDUCOPTER SUITE

.PHONY: train-smoke train-smoke-people train-smoke-plates bench-plate-models bench-detectors check-types check-flight check-eyes check-voice check-rest help demo test test-rootfs test-arm64 test-demo test-servers mutants faults sitl bench bench-flight bench-vision bench-voice bench-sitl check setup setup-dev lock format test-packages clean contract
