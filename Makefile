# The two commands: `make demo` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest

# make demo SEED=2 NULL=1 SIZE=smallest DEMO=out/demo2 IMAGES=photographs/
SEED ?= 1
NULL ?= 0
SIZE ?= standard
DEMO ?= demo
IMAGES ?=
# make bench-encoding VWAM=... FULL=--full; make bench-drive VWAM=... HORAMA=...; make bench-speed VWAM=...
VWAM ?=
HORAMA ?=
FULL ?=

.PHONY: demo test test-all check bench bench-encoding bench-drive bench-photometry bench-scanner bench-glm bench-inference bench-speed bench-sweep bench-maps system lock

demo: $(READY) system
	@SEED=$(SEED) NULL=$(NULL) SIZE=$(SIZE) DEMO=$(DEMO) IMAGES=$(IMAGES) PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/examples/demo.sh

test: $(READY) system
	$(PYTEST) -m "not slow"

test-all: $(READY) system
	$(PYTEST)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(READY) system
	$(BIN)/python tests/benchmarks/demo_seeds.py --seeds 5
	$(BIN)/python tests/benchmarks/demo_seeds.py --seeds 20 --null --size smallest --image-sets 4
	$(BIN)/python -m tests.benchmarks.bench_calibration

# Encoding models: make bench-encoding [VWAM=checkout of github.com/MShinkle/VWAM] [FULL=--full]
bench-encoding: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_ridge
	$(BIN)/python -m tests.benchmarks.bench_ceilings
	$(BIN)/python -m tests.benchmarks.bench_real
	$(BIN)/python -m tests.benchmarks.bench_downsampling
	$(BIN)/python -m tests.benchmarks.bench_scale $(FULL)
	$(if $(VWAM),$(BIN)/python -m tests.benchmarks.bench_reference --reference $(VWAM),@echo "the reference pipeline was not given (VWAM=checkout): left out")

# Images on planted brains: make bench-drive [VWAM=checkout] [HORAMA=checkout of github.com/serre-lab/Horama]
bench-drive: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_drive $(if $(VWAM),--vwam $(VWAM)) $(if $(HORAMA),--horama $(HORAMA))
	$(BIN)/python -m tests.benchmarks.bench_pairs
	$(BIN)/python -m tests.benchmarks.bench_resume

# Equal photometry and what it costs, images made again, the check of a large set; on the brain of bench-drive
bench-photometry: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_photometry

# A session at the scanner: triggers, clocks, pixels, timing, kills, seeds of every protocol, a whole run; about an hour, alone on the machine
bench-scanner: $(READY) system
	$(BIN)/python -m tests.benchmarks.bench_triggers
	$(BIN)/python -m tests.benchmarks.bench_pixels
	$(BIN)/python -m tests.benchmarks.bench_timing
	$(BIN)/python -m tests.benchmarks.bench_kill
	$(BIN)/python -m tests.benchmarks.bench_protocols
	$(BIN)/python -m tests.benchmarks.bench_session

# The first level: false positives, speed and memory beside nilearn, single trials, permutations, ceilings; alone on the machine
bench-glm: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_noise
	$(BIN)/python -m tests.benchmarks.bench_first_level
	$(BIN)/python -m tests.benchmarks.bench_single_trials
	$(BIN)/python -m tests.benchmarks.bench_permute_labels
	$(BIN)/python -m tests.benchmarks.bench_roi_ceilings

# False positives, coverage and power of the inference beside the usual tests: a quarter of an hour on one core
bench-inference: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_inference
	$(BIN)/python -m tests.benchmarks.bench_claims

# Speed of the ascent, alone on the machine: make bench-speed [VWAM=checkout]
bench-speed: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_speed $(if $(VWAM),--vwam $(VWAM))

# Images for 2,000 planted voxels: images a minute, cost of an image by number of voxels, other ways; alone on the machine
bench-sweep: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_sweep

# Planted receptive fields and ROIs recovered from a sweep and its model
bench-maps: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_maps

system:
	@sh .ci/system

# Names and versions of everything, for every platform; run after a change of the dependencies in pyproject.toml.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra all --extra cluster --extra test --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --upgrade pyproject.toml --output-file requirements.lock

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 12) else "voxdrive needs Python 3.11 or 3.12, this is %d.%d; name one: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)
