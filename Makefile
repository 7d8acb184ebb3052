# Every target is one line here and does its work in tools/workspace.py, so that Windows can do without make.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$p && break; done)
ADVICE = Python 3.11 to 3.14 was wanted and none was found: install one (python.org, or your package manager) and run make again, or name it: make lab PYTHON=/path/to/python3
RUN = $(or $(PYTHON),$(error $(ADVICE))) -m tools.workspace

.DEFAULT_GOAL := help
.PHONY: help lab install test test-fast test-browser test-classroom notebooks fresh lint lock bench bench-gpu bench-long data mutants course class-sheet slides clean

help:       ## list all targets
	@sed -n 's/^\([a-z-]*\):\( *\)## /make \1\2  /p' Makefile
lab:        ## open the course in JupyterLab (the first time, install it; on Linux, smaller: TORCH=cpu)
	@$(RUN) lab
install:    ## install the course into .venv without opening it (on Linux, PyTorch for the CPU alone: TORCH=cpu)
	@$(RUN) install
test:       ## lint, unit tests and every notebook against its saved outputs, with one summary
	@$(RUN) test
test-fast:  ## lint and unit tests, without the notebooks
	@$(RUN) test-fast
test-browser: ## run the notebooks that have widgets in a real browser (Chromium must be there)
	@$(RUN) test-browser
test-classroom: ## let nbgrader hand out, grade and give feedback (installs it)
	@$(RUN) test-classroom
notebooks:  ## execute notebooks/ in fresh kernels and save their outputs (one: NB=06)
	@$(RUN) notebooks $(NB)
fresh:      ## put back the course's version of one notebook in my_notebooks/ (NB=01)
	@$(RUN) fresh $(NB)
lint:       ## check style and types, without tests
	@$(RUN) lint
lock:       ## make constraints.txt anew, for all supported Pythons and platforms (newest versions: UPGRADE=yes)
	@$(RUN) lock $(if $(UPGRADE),upgrade)
bench:      ## measure data input, the model by hand, the cache, and the recipes against a plain GPT (a text of yours: TEXT=file)
	@$(RUN) bench $(if $(TEXT),--text "$(TEXT)")
bench-gpu:  ## measure a GPU with the course's own code (under 8 minutes), into data/gpu.json
	@$(RUN) bench-gpu
bench-long: ## train on Tiny Shakespeare for a quarter of an hour: how near to a GPU's loss? (a text of yours: TEXT=file)
	@$(RUN) bench-long $(if $(TEXT),--text "$(TEXT)")
data:       ## make files in data/ again: the list of recipes (one of them: NAME=stories; all: NAME=all)
	@$(RUN) data $(NAME)
mutants:    ## break the library in 200 places and count what the tests notice (one part: ONLY=backprop; the answers of exercises: ONLY=exercises; minutes: BUDGET=8)
	@$(RUN) mutants $(if $(ONLY),--only $(ONLY)) $(if $(BUDGET),--budget $(BUDGET))
course:     ## an nbgrader course in runs/course/, from all notebooks (some: NB="01 06"; exercises alone: HOMEWORK=yes)
	@$(RUN) course $(NB) $(if $(HOMEWORK),--homework)
class-sheet: ## who solved what, from a folder of students' notebooks (SUBMISSIONS=folder)
	@$(RUN) class-sheet $(if $(SUBMISSIONS),"$(SUBMISSIONS)")
slides:     ## a slide of each showpiece, 1600 × 900, in runs/slides/
	@$(RUN) slides
clean:      ## remove the environment and caches; my_notebooks/ stays
	@$(RUN) clean
