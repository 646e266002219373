# Two commands: `make run` and `make test`. Each sets up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check results bench clean

run: $(READY)
	$(BIN)/flopaudit run --preset quick --out results/latest --again

test: check
	$(BIN)/pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The committed tables; profiles come first, and each of the others but quick takes about a quarter
# of an hour on two processors.
results: $(READY)
	$(BIN)/flopaudit probe --out results/profiles
	$(BIN)/flopaudit run --preset quick --out results/quick
	$(BIN)/flopaudit run --preset torchvision --out results/torchvision
	$(BIN)/flopaudit run --draw timm:60:4 --timeout 300 --out results/timm-60-4
	$(BIN)/flopaudit audit --out results/audit
	$(BIN)/python -m harness.agreement results/static

bench: $(READY)
	$(BIN)/flopaudit bench --out results/bench
	$(BIN)/python -m harness.speed results/speed

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) results/latest build dist *.egg-info
