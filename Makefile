# `make demo` and `make test` each set up $(VENV) on their own.
# The OpenMMLab packages: their last releases, or the maintained forks (onedl).
LINE ?= openmmlab
$(if $(filter openmmlab onedl,$(LINE)),,$(error LINE=$(LINE): openmmlab or onedl))
VENV ?= .venv$(if $(filter onedl,$(LINE)),-onedl)
TASK ?= det
# The interpreter that $(VENV) is made with; left empty, the first of these that fits.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10)

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
READY := $(VENV)/.ready
UNFINISHED := $(VENV)/.unfinished
MM := $(if $(filter onedl,$(LINE)),onedl.txt,mminstall.txt)
REQUIREMENTS := $(addprefix requirements/,runtime.txt $(MM) train.txt spandrel.txt \
  export.txt web.txt tests.txt)
# Installed last, over what other packages ask for; the file says why.
APART := requirements/apart.txt
CONSTRAINTS := requirements/constraints.txt
# What pip may complain of: that, and with the forks what asks for the originals.
EXPECTED := mmagic|gradio .* pillow$(if $(filter onedl,$(LINE)),|mmsr4ir)
# What must hold with every Python and every line of packages: imports, what touches the
# inside of other packages, the published trainer's losses, a training of each task.
PORTABLE := tests/test_import.py tests/test_check_env.py tests/test_compat \
  tests/test_models/test_golden.py tests/test_models/test_spandrel_network.py \
  tests/test_cli/test_tasks.py tests/test_cli/test_train_test.py
# A choice for every commit, about 90 s: no training through the command lines.
FAST := tests/test_import.py tests/test_check_env.py tests/test_compat \
  tests/test_models tests/test_datasets tests/test_evaluation tests/test_utils
# Where the spelling is checked.
SPELLED := $(wildcard *.md *.cff *.py .github/* configs demo docs mmsr4ir requirements \
  tests tools)
# What only `make html` needs.
DOCS := requirements/docs.txt
DOCS_READY := $(VENV)/.docs-ready

# It is run, not looked up: a pyenv shim exists for versions that do not run.
FITS := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))
# A compiled mmcv and the torch that it was compiled for, as requirements; else nothing.
FULL_MMCV := from importlib.metadata import files, packages_distributions, version; \
  full = [name for name in set(packages_distributions().get("mmcv", [])) \
          if any("mmcv/_ext" in str(file) for file in files(name) or [])]; \
  [print(f"{name}=={version(name)}") for name in [*full, "torch"] if full]

help:
	@echo 'make demo         train, test and draw on the embedded data (TASK=$(TASK))'
	@echo 'make test         run the test suite (about 10 minutes on 2 cores)'
	@echo 'make test-fast    run a choice of fast tests (about 90 s)'
	@echo 'make test-python  run what must hold on every Python (PYTHON=...)'
	@echo 'make test-onedl   run it with the maintained forks of the OpenMMLab packages'
	@echo 'make coverage     run the test suite and print which lines it covers'
	@echo 'make lint         check spelling, types, style, docstrings and layout'
	@echo 'make spell        check only the spelling'
	@echo 'make types        check the types of the package'
	@echo 'make format       format all Python files'
	@echo 'make docs         run the commands of README.md and docs/en'
	@echo 'make html         build the documentation site in docs/_build/html'
	@echo 'make setup        only set up $(VENV) (PYTHON=... names the interpreter)'
	@echo 'make constraints  choose the versions of all packages anew (needs a network)'
	@echo 'make clean        remove $(VENV), caches, builds and demo_output'

setup: $(READY)
	@echo '$(VENV) is ready'

# The stamp comes last. A set-up that was cut off leaves $(UNFINISHED) instead, and the
# next one first forgets the packages that pip had not finished: pip ends each by
# listing its own INSTALLER file in RECORD.
$(READY): $(REQUIREMENTS) $(APART) $(CONSTRAINTS) setup.py pyproject.toml
	@if ! $(PY) -c '' 2>/dev/null; then \
	  for python in $(CANDIDATES); do \
	    $$python -c '$(FITS)' 2>/dev/null && break; python=; \
	  done; \
	  test -n "$$python" || { echo 'error: none of "$(CANDIDATES)" is a Python 3.10' \
	    'or later that runs and has venv; install one (with its venv package), or name' \
	    'one: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }; \
	  echo "[1/4] making $(VENV) with $$python"; \
	  rm -f $(VENV)/bin/python*; \
	  $$python -m venv --without-pip $(VENV); \
	elif ! $(PY) -c '$(FITS)'; then \
	  echo 'error: $(VENV) is of a Python before 3.10; remove it (make clean), or' \
	    'name another: make VENV=.venv2 ...' >&2; exit 1; \
	else echo '[1/4] updating $(VENV)'; fi
	@if test -e $(UNFINISHED); then \
	  echo '      an earlier set-up was cut off: repairing it'; \
	  for info in $(VENV)/lib/python*/site-packages/*.dist-info; do \
	    grep -qs INSTALLER $$info/RECORD || rm -rf $$info; \
	  done; \
	fi
	@date +%s > $(UNFINISHED)
	@$(PIP) --version >/dev/null 2>&1 || { \
	  rm -rf $(VENV)/lib/python*/site-packages/pip*; \
	  $(PY) -m ensurepip --default-pip >/dev/null; }
	@$(PY) -c '$(FULL_MMCV)' > $(VENV)/mmcv.txt
	@if test -s $(VENV)/mmcv.txt; then \
	  echo "      keeping" $$(cat $(VENV)/mmcv.txt); \
	  grep -Ev '^(torch|triton|nvidia-|cuda-|pillow)' $(CONSTRAINTS) \
	    > $(VENV)/constraints.txt; \
	else \
	  echo $(if $(filter onedl,$(LINE)),,mmcv-lite) > $(VENV)/mmcv.txt; \
	  grep -v '^pillow' $(CONSTRAINTS) > $(VENV)/constraints.txt; \
	fi
	@echo '[2/4] installing torch and torchvision (some minutes, about 5 GB)'
	@$(PIP) install -q -r requirements/runtime.txt -r $(VENV)/mmcv.txt \
	  -c $(VENV)/constraints.txt
	@echo '[3/4] installing the OpenMMLab packages and the test tools'
	@$(PIP) install -q --use-pep517 $(addprefix -r ,$(REQUIREMENTS)) \
	  -r $(VENV)/mmcv.txt -c $(VENV)/constraints.txt
	@$(PIP) install -q --no-deps -r $(APART) -c $(CONSTRAINTS)
	@echo '[4/4] installing mmsr4ir and checking the whole'
	@$(PIP) install -q --no-build-isolation --no-deps -e .
	@echo '      pip check (but for what $(APART) explains)'
	@if $(PIP) check | grep -Ev '^($(EXPECTED)|No broken)'; then \
	  echo 'error: these do not fit together; the environment may be of an earlier' \
	    'set of versions: make clean && make setup' >&2; exit 1; fi
	@echo "set up in $$(( $$(date +%s) - $$(cat $(UNFINISHED)) )) s"
	@mv $(UNFINISHED) $@ && touch $@

demo: $(READY)
	$(PY) tools/embedded_demo.py --task $(TASK)

test: $(READY)
	$(PY) -m pytest $(TESTS)

test-fast: $(READY)
	$(PY) -m pytest -m 'not slow' $(FAST)

# It also counts the tools that tests start in processes of their own.
coverage: $(READY)
	$(PY) -m pytest --cov --cov-report=term --cov-report=xml $(TESTS)

test-python:
	@version=$$($(or $(PYTHON),python3) -c \
	  'import sys; print("%d.%d" % sys.version_info[:2])') && \
	  $(MAKE) --no-print-directory test VENV=.venv-$$version TESTS='$(PORTABLE)'

test-onedl:
	@$(MAKE) --no-print-directory test LINE=onedl TESTS='$(PORTABLE)'

# Needs a network. For all Pythons at once, which pip cannot do.
constraints: $(READY)
	$(PIP) install -q uv
	@sed -n '/^#/p' $(CONSTRAINTS) > $(VENV)/constraints.new
	@echo 'mmcv-lite<2.2' | $(VENV)/bin/uv pip compile -q --universal --python-version 3.10 \
	  --no-annotate --no-header --override $(APART) \
	  $(subst onedl,mminstall,$(REQUIREMENTS)) $(DOCS) - \
	  > $(VENV)/resolved.txt
	@echo 'mmagic==1.2.0' | sort - $(VENV)/resolved.txt >> $(VENV)/constraints.new
	@cp $(VENV)/constraints.new $(CONSTRAINTS)
	@git diff --stat $(CONSTRAINTS)

lint: spell types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

spell: $(READY)
	$(PY) -m codespell_lib $(SPELLED)

types: $(READY)
	$(PY) -m mypy

format: $(READY)
	$(PY) -m ruff format .

docs: $(READY)
	$(PY) tools/misc/run_doc_commands.py --jobs 2

$(DOCS_READY): $(READY) $(DOCS)
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "error: make html needs Python 3.11 or later")'
	@$(PIP) install -q -r $(DOCS) -c $(VENV)/constraints.txt
	@touch $@

# Sphinx writes all pages anew, since a module may have moved.
html: $(DOCS_READY)
	@rm -rf docs/api docs/_build
	$(PY) -m sphinx -b html -W --keep-going -q docs docs/_build/html
	@echo 'open docs/_build/html/index.html'

clean:
	rm -rf $(VENV) demo_output build dist *.egg-info mmsr4ir/.mim \
	  .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage* coverage.xml \
	  docs/api docs/_build

.PHONY: help setup demo test test-fast test-python test-onedl coverage lint spell types \
  format docs html constraints clean
