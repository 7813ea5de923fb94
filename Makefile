# make demo and make test are all a newcomer needs; both make the environment first.
PY := .venv/bin/python
# Threads that wait sleep, and leave shared cores to other work.
export OMP_WAIT_POLICY ?= passive
# Several tests at a time, each on one thread: most networks here are too small for more.
TOGETHER := -n logical --maxprocesses 4 --dist worksteal

.PHONY: help env demo test lint format test-slow test-operators test-openmmlab torture docs

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

env:  ## make .venv with everything mmkd needs, without a compiler (instant if it is there)
	@tools/env/setup.sh

demo: env  ## train teacher, student and distilled student; a table and a picture
	$(PY) tools/demo.py

test: env lint  ## run the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -m 'not slow' $(TOGETHER)

test-slow: env test-operators  ## run the tests that take minutes each
	$(PY) -m pytest -m slow

test-operators:  ## compare mmkd's operators with mmcv's, compiled in .venv-compiled
	@tools/env/setup.sh compiled
	OMP_NUM_THREADS=1 .venv-compiled/bin/python -m pytest \
	    tests/openmmlab/operators tests/engine/test_detection.py

test-openmmlab:  ## run the tests on OpenMMLab's original packages, in .venv-openmmlab
	@tools/env/setup.sh openmmlab
	OMP_NUM_THREADS=1 .venv-openmmlab/bin/python -m pytest -m 'not slow' $(TOGETHER)

torture: env  ## kill trainings at random moments; 100 000 random inputs to the readers
	$(PY) tools/torture.py --kills 50
	$(PY) -m pytest -m fuzz --hypothesis-profile=torture --hypothesis-show-statistics

lint: env  ## check style
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: env  ## apply the style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: env  ## build the documentation as a site in build/site
	@$(PY) -c 'import material' 2>/dev/null || $(PY) -m pip install --quiet --no-build-isolation \
	    --config-settings editable_mode=compat --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
