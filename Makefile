.DEFAULT_GOAL := help
.PHONY: agent help setup test e2e play lint format docs pictures lock image bench faults size

help:    ## list the verbs
	@grep -E '^[a-z0-9]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /  make \1\t/'
setup:   ## virtual environment, Node tools, real servers
	@bash -c 'source scripts/lib.sh; prepare'
test:    ## everything CI runs
	@./scripts/test.sh
e2e:     ## the runbook on this machine
	@./scripts/e2e-prod-shape.sh
play:    ## a fleet to try things on: a server, three devices, two workloads; BROKEN=1 breaks one; Ctrl-C ends it
	@bash -c 'source scripts/lib.sh; prepare; exec python -m harness.play $(if $(BROKEN),--broken)'
lint:    ## format, lint, layers and types, without tests
	@bash -c 'source scripts/lib.sh; prepare_python; prepare_node; lint'
format:  ## rewrite the code in our format
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
docs:    ## write the generated documents anew, and all of them as a site with a search, in build/site
	@.venv/bin/python -m scenarios.book && .venv/bin/python -m fleet.cli.reasons docs/reasons.md && .venv/bin/python -m fleet.chart.generate
	@bash -c 'source scripts/lib.sh; prepare_python; prepare_docs; site'
pictures: ## the pictures of the web page, in docs/pictures
	@.venv/bin/python -m tests.web.pictures docs/pictures
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
size:    ## lines and files of Python, by room
	@git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" { n = split($$2, part, "/"); \
	  room = part[1] ~ /^(fleet|harness|tests)$$/ && n > 2 ? part[1] "/" part[2] : part[1]; \
	  lines[room] += $$1; files[room]++ } n > 1 { all[part[1]] += $$1 } \
	  END { for (room in lines) printf "%7d lines %4d files  %s\n", lines[room], files[room], room; \
	  for (top in all) printf "%7d lines in all    %s\n", all[top], top }' | sort -k6 -k5
