# Everything goes through cargo; these are the words to remember.

CARGO ?= cargo
# The benchmarks bring programs of others to compare with: only `make bench` builds them.
OURS = --workspace --exclude caps-overlay-bench --locked

.PHONY: help demo test check tools bench soak torture fuzz fix

help:            ## show this
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo:            ## show a three-site company at work on this machine
	$(CARGO) run --release -- demo

test: tools check ## run every check and every test
	@if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run $(OURS); else $(CARGO) test $(OURS); fi

check:           ## formatting, lints, documentation's links, licences and arrows
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(OURS) --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check bans licenses sources; \
	 else echo "cargo-deny is not here: licences and sources are not checked (the arrows are, by a test)"; fi

tools:           ## install what the tests need and this machine lacks
	@missing=""; command -v strace >/dev/null || missing="$$missing strace"; \
	command -v python3 >/dev/null || missing="$$missing python3"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v chromedriver >/dev/null || missing="$$missing chromium-driver"; \
	command -v swaks >/dev/null || missing="$$missing swaks"; \
	test -x /usr/sbin/exim4 || missing="$$missing exim4-daemon-light"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	command -v mariadbd >/dev/null || missing="$$missing mariadb-server"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; \
	else echo "the tests need these Debian packages:$$missing"; exit 1; fi

bench:           ## measure the overlay beside raw quinn and tonic, the step into layer 3, a large cabinet, all states, subscriptions, web pages beside bare axum, and the cabinet beside etcd and NATS
	$(CARGO) run --release --locked -p caps-overlay-bench
	$(CARGO) bench --locked -p caps-logic --features testing --bench module_call
	$(CARGO) bench --locked -p caps-store --bench cabinet
	$(CARGO) bench --locked -p caps-store --bench states
	$(CARGO) bench --locked -p caps-store --bench subscriptions
	$(CARGO) build --release --locked -p caps-node
	$(CARGO) run --release --locked -p caps-overlay-bench -- web
	@missing=""; command -v etcd >/dev/null || missing="$$missing etcd-server"; command -v nats-server >/dev/null || missing="$$missing nats-server"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	echo "stores to compare with that are not here, and are left out (Debian packages):$$missing"
	$(CARGO) run --release --locked -p caps-overlay-bench -- stores

soak:            ## simulate days of cruel network in 20 minutes
	$(CARGO) build --release --locked -p caps-simulations
	./target/release/caps-sim soak

torture:         ## kill real processes 300 times while others work with them; damage files; cut the power of simulated disks
	$(CARGO) build --release --locked -p caps-node -p caps-simulations
	./target/release/caps-sim torture --rounds 300
	./target/release/caps-sim torture power
	./target/release/caps-sim torture corruption --lenient

fuzz:            ## fuzz every reader of the adapters for FUZZ_SECONDS, 60 if not set, each; needs a C++ compiler
	cd adapters/fuzz && $(CARGO) run --release --locked

fix:             ## format, and mend what lints can mend
	$(CARGO) fmt --all
	$(CARGO) clippy $(OURS) --all-targets --fix --allow-dirty --allow-staged
