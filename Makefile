# The README's commands. Each makes the virtual environment that it needs; nothing else has to be installed first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE = 1

.PHONY: demo ladder test test-slow test-gpu sweep load fuzz defects reliability lint format bench bench-gpu clean

demo: $(READY)  ## stage 1 on the built-in base model, from an empty workspace to the report
	@rm -rf demo
	@$(BIN)/cai demo

ladder: $(READY)  ## all six stages on the built-in base model; interrupted, the same command goes on
	@test -d ladder || { $(BIN)/cai init ladder && $(BIN)/cai -w ladder plan --stages 1-6; }
	@$(BIN)/cai -w ladder once
	@$(BIN)/cai -w ladder ladder
	@$(BIN)/cai -w ladder report

test: $(READY)  ## the ordinary tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow and not sweep and not gpu"

test-slow: $(READY)  ## tests that train and kill for minutes
	@$(BIN)/pytest -m slow

PROOFS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reliability tests/daemon
LEFT = build/sweep.xml build/load.xml build/fuzz.xml build/defects.xml

sweep: $(READY)  ## kill −9 and faults at every system call, and a long search; under 15 minutes on two idle cores
	@$(PROOFS) -n 2 --dist loadfile -m "not (load or fuzz or defects or sample)" --junitxml=build/sweep.xml
	@$(BIN)/python scripts/reliability_table.py

load: $(READY)  ## many files at once, a long log, a restless editor
	@$(PROOFS) -s -m load --junitxml=build/load.xml

fuzz: $(READY)  ## hostile task files for ten minutes, or for CAI_FUZZ_S seconds
	@$(PROOFS) -s -m fuzz --junitxml=build/fuzz.xml

defects: $(READY)  ## deliberate defects that the tests must catch
	@$(PROOFS) -s -m defects --junitxml=build/defects.xml

reliability: sweep load fuzz defects  ## all four, and docs/reliability.md from what they left
	@$(BIN)/python scripts/reliability_table.py $(LEFT)

lint: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY)  ## latencies and rates of the queue, beside other queues where they are installed
	@$(BIN)/python -m benchmarks.queue

bench-gpu: $(READY)  ## serving and training of a 32B-shaped model on an NVIDIA GPU, in one table
	@$(BIN)/python -m benchmarks.gpu

test-gpu: $(READY)  ## tests that need an NVIDIA GPU; skipped with a reason without one
	@$(BIN)/pytest -m gpu

clean:
	rm -rf $(VENV) demo ladder build *.egg-info

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cai needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (once; some minutes where PyTorch has to be downloaded)"
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
