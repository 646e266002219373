# Two commands: `make run` and `make test`. Each sets up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check results bench constraints clean

run: $(READY)
	$(BIN)/flopaudit run --preset quick --out results/latest --again

test: check
	$(BIN)/pytest --numprocesses logical --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The committed tables; profiles come first. They, torchvision and timm take ten to fifteen minutes
# each on two processors, the audit two.
results: $(READY)
	$(BIN)/flopaudit probe --out results/profiles
	$(BIN)/flopaudit run --preset quick --out results/quick
	$(BIN)/flopaudit run --preset torchvision --out results/torchvision
	$(BIN)/flopaudit run --sample timm:60:4 --timeout 300 --out results/timm-60-4
	$(BIN)/flopaudit audit --out results/audit
	$(BIN)/flopaudit study agreement --out results/static

bench: $(READY)
	$(BIN)/flopaudit bench --out results/bench
	$(BIN)/flopaudit study speed --out results/speed

# The versions in .venv, for everyone who calls make; those of nvidia's libraries follow from torch.
constraints: $(READY)
	$(BIN)/python -m pip freeze --all --exclude-editable \
	  | grep -vE '^(pip|wheel|flopaudit|nvidia-[a-z0-9-]*|cuda-[a-z]*|triton)[=@ ]' \
	  | sed -E "s/$$/; python_version >= '3.11'/" > constraints.txt

# The variable makes the constraints hold also for the tools that pip builds this package with.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) results/latest build dist *.egg-info
