# make demo            sets up .venv and plays the bundled drive through the node over real ROS 2 topics
# make demo BAG=path   the same with your own rosbag2
# make test            sets up .venv and runs every check: ruff, mypy, pytest
# make soak            the long tests: 20,000 inputs of any content, every fault in full, an hour of two cameras
# make test-kilted     the ROS tests on the wheels of Kilted, in an environment of their own
# make train-gpu MINUTES=10   trains the shipped network on this machine's GPU, with PYTHON as it is, into OUT (rented)
# make audit           known weaknesses of the pinned dependencies (needs the internet), and their licences
# make docs            builds the documentation's site into build/site
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
BAG ?=
MINUTES ?=
OUT ?= rented
RESUME ?=

.PHONY: demo test soak train-gpu test-kilted audit docs clean

demo: $(VENV)/.runtime
	$(BIN)/recon3d demo -o demo $(if $(BAG),--bag "$(BAG)")

test: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

soak: $(VENV)/.development
	SOAK=1 FUZZ_INPUTS=20000 $(BIN)/python -m pytest test/test_fuzz_messages.py test/test_fuzz_files.py test/faults
	$(BIN)/python -m benchmarks.endurance --minutes 60 --out endurance

# Installs nothing: a rented machine has its own torch, and often no network.
train-gpu:
	$(if $(MINUTES),,$(error MINUTES is missing: how long to train, such as make train-gpu MINUTES=10))
	$(PYTHON) -m training.rented_gpu --minutes "$(MINUTES)" --out "$(OUT)" $(if $(RESUME),--resume "$(RESUME)")

test-kilted: $(VENV)/kilted/.installed
	$(VENV)/kilted/bin/python -m pytest -p no:cacheprovider test/test_ros_*.py test/test_rviz.py

# Without --strict pip-audit passes what it cannot look up.
audit: $(VENV)/audit/.installed $(VENV)/.development
	$(BIN)/python -m pytest -q test/test_security.py -k "licence or pin"
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off \
	  -r requirements/runtime.txt -r requirements/training.txt

docs: $(VENV)/docs/.installed
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict

# Environments of their own: one holds one ROS distribution, and what audits or documents must not change what is tested.
$(VENV)/kilted/.installed: requirements/runtime.txt requirements/ros-kilted.txt
$(VENV)/audit/.installed: requirements/audit.txt
$(VENV)/docs/.installed: requirements/docs.txt
$(VENV)/%/.installed: $(VENV)/.python
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -q --disable-pip-version-check $(addprefix -r ,$(filter %.txt,$^))
	@touch $@

$(VENV)/.python:
	@$(PYTHON) -c 'import platform, sys; (3, 10) <= sys.version_info[:2] <= (3, 13) and platform.machine() == "x86_64" or sys.exit(f"make: this is Python {platform.python_version()} on {platform.machine()}; the ROS 2 wheels need CPython 3.10-3.13 on x86_64. Choose another with: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV) || { echo "make: cannot create a virtual environment; on Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements/runtime.txt requirements/ros-jazzy.txt setup.py
	@echo "Installing ROS 2 (Jazzy wheels) and the run time into $(VENV), about 300 MB, once ..."
	$(PIP) -r requirements/runtime.txt -r requirements/ros-jazzy.txt
	$(PIP) --no-deps -e .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements/training.txt requirements/dev.txt
	@echo "Installing PyTorch and the development tools into $(VENV), once ..."
	$(PIP) -r requirements/training.txt -r requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) demo build install log
