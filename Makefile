# Targets: build (default), test, demo, boot, lint, bench, clean.
# README.md says what each is for.

SHELL := /bin/sh
GO ?= go
export CGO_ENABLED = 0

CHECKER_DIR := builder/checker/bin
CHECKERS := $(CHECKER_DIR)/initcheck-amd64 $(CHECKER_DIR)/initcheck-arm64
CHECKER_SOURCES := go.mod go.sum $(shell find initcheck cmd/initcheck -name '*.go' ! -name '*_test.go')
LDFLAGS := -s -w -buildid=

.PHONY: all build checkers test unit boot demo lint bench clean tools

all: build

build: checkers
	@mkdir -p bin
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/kerngate ./cmd/kerngate
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/initcheck ./cmd/initcheck

# The checkers come first: the builder carries them inside itself.
checkers: $(CHECKERS)

$(CHECKER_DIR)/initcheck-%: $(CHECKER_SOURCES)
	GOOS=linux GOARCH=$* $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $@ ./cmd/initcheck
