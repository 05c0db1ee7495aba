.DEFAULT_GOAL := help
.PHONY: agent help setup test e2e lint format docs lock image bench faults

help:    ## list the verbs
	@grep -E '^[a-z0-9]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1\t/'
setup:   ## virtual environment, Node tools, real servers
	@bash -c 'source scripts/lib.sh; prepare'
test:    ## everything CI runs
	@./scripts/test.sh
e2e:     ## the runbook on this machine
	@./scripts/e2e-prod-shape.sh
lint:    ## format, lint, layers and types, without tests
	@bash -c 'source scripts/lib.sh; prepare_python; prepare_node; lint'
format:  ## rewrite the code in our format
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
docs:    ## write the generated documents anew
	@.venv/bin/python -m scenarios.book
lock:    ## pin the dependencies anew
	@./scripts/lock.sh
agent:   ## the devices' agent of VERSION (v0.1.0 unless told), in build/
	@mkdir -p build && .venv/bin/fleet agent build --version $(or $(VERSION),v0.1.0) --out build
image:   ## the product's image and the devices' agent of the same version, in build/
	@.venv/bin/python -m images --archive build/fleet.tar --agent build
bench:   ## the figures of the README
	@.venv/bin/python -m benchmarks
faults:  ## plant every fault and check the verdicts
	@.venv/bin/python -m harness.faults
