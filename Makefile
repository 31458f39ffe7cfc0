VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
TEST := $(VENV)/.installed-test
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --universal --python-version 3.11 $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help run demo test fuzz limits-long soak check fmt docs live lock bench bench-quick

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUN) ## Installs what is missing and serves on http://127.0.0.1:8080 in sandbox mode, without any key
	@PINHOLE_SANDBOX=$${PINHOLE_SANDBOX:-true} exec $(BIN)/pinhole serve

demo: $(TEST) ## Starts a sandbox gateway, asks it for pictures with the official SDK, and keeps them in demo/
	@$(BIN)/python deploy/demo.py demo

test: $(TEST) ## Installs what the tests need (a redis-server and PostgreSQL included) and runs them all
	@tests/ensure-services.sh
	@tests/compat/environments.sh
	@$(BIN)/pytest -n 2

fuzz: $(TEST) ## Feeds the readers of foreign bytes for long: PINHOLE_FUZZ_EXAMPLES (20000) a property, PINHOLE_FUZZ_SECONDS (60) a target
	@PINHOLE_FUZZ_EXAMPLES=$${PINHOLE_FUZZ_EXAMPLES:-20000} $(BIN)/pytest -n 2 --timeout=0 tests/fuzz
	@if $(BIN)/python -m pip install -qq --no-deps --require-hashes -r tests/fuzz/atheris.lock </dev/null; \
		then $(BIN)/python -m tests.fuzz $${PINHOLE_FUZZ_SECONDS:-60}; else echo "atheris has no wheel for this Python: skipped"; fi

limits-long: $(TEST) ## Limits, ledger and repeats for long: exact admission for a minute over three gateways, 1,000 requests with kills, 500 walks
	@tests/ensure-services.sh
	@PINHOLE_LIMITS_SECONDS=$${PINHOLE_LIMITS_SECONDS:-60} PINHOLE_LIMITS_GATEWAYS=$${PINHOLE_LIMITS_GATEWAYS:-3} \
		PINHOLE_KILL_REQUESTS=$${PINHOLE_KILL_REQUESTS:-1000} PINHOLE_MACHINE_EXAMPLES=$${PINHOLE_MACHINE_EXAMPLES:-500} \
		$(BIN)/pytest --timeout=0 tests/limits tests/app/test_run_machine.py

soak: $(TEST) ## Two gateways, restarted again and again, behind random faults for SECONDS (600): counts what was lost and paid twice
	@tests/ensure-services.sh
	@$(BIN)/python -m tests.faults.soak --seconds $${SECONDS:-600} $${SOAK:---restart 30}

check: $(TEST) ## Lints, checks the formatting, the types and the import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(TEST) ## Formats the code and applies the safe lint fixes
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

docs: $(RUN) ## Writes the generated pages of docs/ anew from the rows and the settings
	@$(BIN)/python -m app.docs

bench: $(TEST) ## Measures Pinhole beside nginx (installed with apt as root when missing) and writes benchmarks/results/
	@benchmarks/ensure-tools.sh
	@$(BIN)/python -m benchmarks $(BENCH)

bench-quick: $(TEST) ## The same in under two minutes: CPU of five cases beside nginx's
	@benchmarks/ensure-tools.sh
	@$(BIN)/python -m benchmarks --quick $(BENCH)

live: $(TEST) ## Runs the tests that need real provider keys (they cost money)
	@$(BIN)/pytest -m live -rs -s tests/live

lock: $(TEST) ## Brings the lock files in line with pyproject.toml (UPGRADE=--upgrade takes the newest versions)
	@$(COMPILE) pyproject.toml --extra bucket --extra otel --group build -o requirements.lock
	@$(COMPILE) pyproject.toml --group build --group test -c requirements.lock -o requirements-test.lock
	@printf 'openai<2\n' | $(COMPILE) - -o tests/compat/openai-1.lock
	@printf 'openai<3\n' | $(COMPILE) - -o tests/compat/openai-2.lock
	@printf 'atheris<3.1\n' | $(COMPILE) - -o tests/fuzz/atheris.lock

$(RUN): requirements.lock pyproject.toml deploy/install.sh
	@deploy/install.sh $(VENV) requirements.lock editable
	@touch $@

$(TEST): requirements-test.lock pyproject.toml deploy/install.sh
	@deploy/install.sh $(VENV) requirements-test.lock editable
	@touch $(RUN) $@
