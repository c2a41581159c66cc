# What one can do here. `make check` is what to run before sending a change; `make ci` is what runs on it afterwards.

SHELL := /bin/bash
GO ?= go
STATICCHECK ?= $(or $(shell command -v staticcheck),$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2)
# How long each fuzz target runs, and which packages and benchmarks `make fuzz` and `make gobench` take.
FUZZTIME ?= 1m
PKG ?= ./...
BENCH ?= .
BENCHTIME ?= 1s
# Options of `make bench`: `go run ./testdata/bench -h` lists them.
BENCHFLAGS ?=

.PHONY: help build test race lint fuzz bench gobench fixtures check ci

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

build: ## build the command into bin/
	$(GO) build -o bin/wasmedge ./cmd/wasmedge

test: ## run all tests, with cgo and without
	$(GO) test ./... ./testdata/guests ./testdata/bench
	CGO_ENABLED=0 $(GO) test ./...

race: ## run all tests under the race detector
	$(GO) test -race -timeout 25m ./...

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./... ./testdata/guests ./testdata/bench
	CGO_ENABLED=0 $(GO) vet ./... ./testdata/guests ./testdata/bench
	$(STATICCHECK) ./... ./testdata/guests ./testdata/bench

fuzz: ## run each fuzz target of PKG for FUZZTIME
	@set -e; for pkg in $$($(GO) list $(PKG)); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

bench: ## measure the platform beside other servers, write docs/BENCHMARKS.md (needs wrk; npm for workerd, deno and JavaScript guests)
	$(GO) run ./testdata/bench -o docs/BENCHMARKS.md $(BENCHFLAGS)

gobench: ## run the Go benchmarks BENCH of PKG for BENCHTIME each
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem $(PKG)

fixtures: ## build the committed guests again (once before: testdata/guests/setup.sh)
	testdata/guests/build.sh

check: lint test race ## what must hold before a change is sent: lint, test, race, and no file left changed
	@git diff --exit-code --stat || { echo "the tree is not as committed"; exit 1; }

ci: ## the whole of continuous integration
	bash .ci/run
