# Ferry. `make` lists the targets.

FUZZTIME ?= 30s
GO       ?= go
TOOL     := $(GO) tool -modfile=tools.mod
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

.PHONY: run
run: ## broker, worker and practice ERP in one process
	$(GO) run ./cmd/broker dev

.PHONY: build
build: ## both programs into bin/
	$(GO) build -trimpath -o bin/ ./cmd/broker ./cmd/worker ./cmd/practice-erp

.PHONY: test
test: ## all tests that need nothing but Go
	$(GO) test ./...

.PHONY: race
race: ## the same with the race detector
	$(GO) test -race ./...

.PHONY: test-all
test-all: ## what needs more: a full disk, more kills, container files
	./scripts/test-all

.PHONY: chaos
chaos: ## the long forms: kills, lost answers, order, outages, lost queues, power cuts, seeds
	./scripts/chaos

.PHONY: lint
lint: ## gofumpt, vet, staticcheck
	@test -z "$$($(TOOL) gofumpt -l .)" || { echo "gofumpt would change:"; $(TOOL) gofumpt -l .; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

.PHONY: fmt
fmt: ## format every file
	$(TOOL) gofumpt -w .

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 30s)
	./scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## ratios of one run: accepts and whole path without a ledger, the path without a rule, over Service Bus
	$(GO) run ./internal/bench

.PHONY: cover
cover: ## coverage per package
	$(GO) test -cover ./...

.PHONY: release
release: ## the programs for five platforms into dist/
	./scripts/release $(VERSION)

.PHONY: clean
clean: ## remove what make made
	rm -rf bin dist
