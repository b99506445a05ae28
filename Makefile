# Uses the python on PATH: activate the environment first.
PYTHON ?= python

.PHONY: check lint types imports tests format slow wheel wheels floors remove

check: lint types imports tests ## what every commit must pass

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

imports:
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as run; run()" --no-logo

tests: # a thread for each of two workers: more of them wait for each other
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadscope

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

slow: ## minutes, and whatever CUDA device is there
	$(PYTHON) -m pytest -m "slow or gpu"

wheel:
	$(PYTHON) -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

remove: ## takes a system out: make remove S=name (FORCE=1 also loses what is in no commit)
	$(PYTHON) scripts/remove_system.py $(S) $(if $(FORCE),--force)

wheels: ## needs the network: the light install resolves as wheels everywhere
	$(PYTHON) scripts/check_wheels.py --out results/install/wheels.json

floors: ## needs the network: the light tests pass on the oldest versions allowed
	$(PYTHON) scripts/check_floors.py --out results/install/floors.json
