# `make demo` and `make test` each set up .venv on their own.
VENV ?= .venv
TASK ?= det
# The first that runs and is in range: pyenv's shims exist for versions that do not run.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
  $$p -c 'import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
  2>/dev/null && echo $$p && break; done)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
READY := $(VENV)/.ready

help:
	@echo 'make demo   train, test and draw on the embedded data (TASK=$(TASK))'
	@echo 'make test   run the test suite'
	@echo 'make lint   check the style'
	@echo 'make setup  only set up $(VENV)'
	@echo 'make clean  remove $(VENV), caches and demo_output'

setup: $(READY)

# The stamp comes last, so a set-up that was cut off is made again.
$(READY): requirements/runtime.txt requirements/mminstall.txt requirements/tests.txt \
		requirements/constraints.txt setup.py
	@test -n '$(PYTHON)' || { echo 'error: no Python 3.10 to 3.12 was found; install' \
	  'one, or name it: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	@echo 'setting up $(VENV) with $(PYTHON); this takes some minutes'
	@start=$$(date +%s); set -e; \
	rm -f $(READY); \
	$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); \
	mmcv=$$($(PIP) show -q mmcv 2>/dev/null || echo mmcv-lite==2.1.0); \
	$(PIP) install -q -r requirements/runtime.txt -r requirements/mminstall.txt \
	  -r requirements/tests.txt -r requirements/build.txt $$mmcv \
	  -c requirements/constraints.txt; \
	$(PIP) install -q --no-build-isolation --no-deps -e .; \
	$(PIP) check; \
	touch $(READY); \
	echo "set up in $$(( $$(date +%s) - start )) s"

demo: $(READY)
	$(PY) tools/demo.py --task $(TASK)

test: $(READY)
	$(PY) -m pytest

lint: $(READY)
	$(PY) -m ruff check .

clean:
	rm -rf $(VENV) demo_output build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

.PHONY: help setup demo test lint clean
