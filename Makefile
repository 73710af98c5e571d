# Ramforge: `make iso` shows it working, `make test` runs every test. Both set up what is missing.

EXAMPLE ?= examples/debian-ram
OUT     ?= out
CARGO   ?= cargo
TARGET   = x86_64-unknown-linux-gnu

.PHONY: iso build setup test test-setup lint bench ram-table fuzz soak clean schema

iso: setup build
	RAM_CHECK=--boot ./pipeline.sh -o $(OUT) $(EXAMPLE)

setup:
	tools/setup.sh build

test-setup:
	tools/setup.sh test

# ram-deploy runs inside the initramfs, so it is static; the stages find it beside themselves.
build:
	$(CARGO) build --release --workspace --bins
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --profile ramdeploy --target $(TARGET) -p ram-deploy

test: test-setup build
	tests/run

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	shellcheck pipeline.sh tools/*.sh tests/run tests/bench tests/bench-deploy tests/ram-table .ci/run

bench: test-setup build
	tests/bench
	@echo "how fast an ISO is deployed: tests/bench-deploy ISO"
	python3 formats/description/tests/kiwi/bench.py

# docs/ram-table.md: RAM stated and measured, hours of it; a part with CELLS="minimal debian-ram/zram/uefi", the rest with
# CELLS=--missing.
CELLS ?=
ram-table: test-setup build
	tests/ram-table $(CELLS)

# Damaged descriptions for SECONDS; prints the executions it reached, and stops at a panic or a hang.
SECONDS ?= 60
fuzz:
	RAMFORGE_FUZZ_SECONDS=$(SECONDS) RAMFORGE_FUZZ_SEED=$$(date +%s) \
		$(CARGO) test --release -p description --test mutations no_damage -- --nocapture

# The fault tests for longer, with other points every day, and a tree of 8 GiB.
POINTS ?= 1000
BOOTS ?= 100
soak: test-setup build
	RAMFORGE_BUILT=1 RAMFORGE_FAULT_SEED=$${RAMFORGE_FAULT_SEED:-$$(date +%Y%m%d)} RAMFORGE_FAULT_POINTS=$(POINTS) \
		RAMFORGE_FAULT_BOOTS=$(BOOTS) RAMFORGE_TREE_MIB=$${RAMFORGE_TREE_MIB:-8192} \
		$(CARGO) test -p pipeline-tests --test kill --test disk_full --test damage --test damaged_media --test memory \
		-- --nocapture --test-threads 1

# The JSON Schemas of the manifest, from its types.
schema:
	BLESS=1 $(CARGO) test -q -p manifest --test schema

clean:
	rm -rf $(OUT) target
