# make demo            sets up .venv and plays the bundled drive through the node over real ROS 2 topics
# make demo BAG=path   the same with your own rosbag2
# make test            sets up .venv and runs every check: ruff, mypy, pytest
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
BAG ?=

.PHONY: demo test clean

demo: $(VENV)/.runtime
	$(BIN)/recon3d demo -o demo $(if $(BAG),--bag "$(BAG)")

test: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

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
