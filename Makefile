# make build   the programs, into bin/
# make test    all tests; installs what they need (apt, as root or through sudo)
# make demo    the main job on a real Debian image, shown step by step
# make boot    only the boot tests
# make lint    gofmt, go vet, staticcheck
# make bench   what a patch costs, beside a plain copy and virt-customize, and by size of image;
#              what the checker costs, beside a C program and shell scripts
# make soak    the tests that take long: builds killed at random times, corrupted images, more
#              configurations, and boots that make boot leaves out
# make fuzz    every fuzz target for FUZZTIME

SHELL := /bin/sh
GO ?= go
FUZZTIME ?= 20s
export CGO_ENABLED = 0

CHECKER_DIR := builder/checker/bin
CHECKERS := $(CHECKER_DIR)/initcheck-amd64 $(CHECKER_DIR)/initcheck-arm64
CHECKER_SOURCES := go.mod go.sum $(shell find initcheck cmd/initcheck -name '*.go' ! -name '*_test.go')
BUILD := $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid='

.PHONY: build checkers test unit boot demo lint bench soak fuzz tools clean

build: checkers
	$(BUILD) -o bin/kerngate ./cmd/kerngate
	$(BUILD) -o bin/initcheck ./cmd/initcheck

# The checkers come first: the builder carries them inside itself.
checkers: $(CHECKERS)

$(CHECKER_DIR)/initcheck-%: $(CHECKER_SOURCES)
	GOOS=linux GOARCH=$* $(BUILD) -o $@ ./cmd/initcheck

test: tools build unit boot

tools:
	testdata/install-tools test

# The time limit only ends what hangs: Go's own, ten minutes, is near on a slow machine.
unit: checkers
	$(GO) test -timeout 40m ./...

# Boot tests share two cores among emulated machines: no second package beside them.
boot: build
	$(GO) test -count=1 -p 1 -timeout 80m -tags boot -run '^TestBoot' -v ./builder/ ./builder/ext4/ ./builder/imgtest/ ./builder/image/ ./builder/modprobe/ ./builder/initramfs/ ./builder/packages/ ./builder/bootentry/ ./builder/rehearse/ ./builder/report/ ./profiles/

demo: build
	testdata/install-tools demo
	testdata/boot/demo

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags boot,soak ./...
	$(GO) tool staticcheck -tags boot,soak ./...

bench: build
	testdata/install-tools bench
	$(GO) test -run '^$$' -bench . -benchtime 5x ./builder/ ./builder/initramfs/ ./cmd/initcheck/

soak: build
	$(GO) test -count=1 -p 1 -timeout 120m -tags boot,soak -run '^(TestKilled|TestSoak)' -v ./...

fuzz: checkers
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg || exit 1; \
	  done; \
	done

clean:
	rm -rf bin build $(CHECKERS)
