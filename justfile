# The habits, by name; `just` alone lists them. Each works as well by hand as it stands here.

_list:
    @just --list --unsorted

# make or update .venv with the tools for developing
setup:
    scripts/setup dev

# format the code
format: setup
    .venv/bin/ruff format .
    .venv/bin/ruff check --fix .

# the checks of .ci/run, without types and tests
lint: setup
    .venv/bin/ruff format --check .
    .venv/bin/ruff check .
    .venv/bin/pre-commit run shellcheck --all-files

# the type checker, strict, over package, tests and scripts
types: setup
    scripts/types

# the tests; takes pytest's arguments: just test tests/store -k alias
test *arguments:
    scripts/test {{ arguments }}

# start-up time and agreement with brute force: the table in docs/benchmarks.md
bench: setup
    .venv/bin/python scripts/bench

# ingest against the machine's own floor: just bench-ingest --large
bench-ingest *arguments: setup
    .venv/bin/python scripts/bench_ingest {{ arguments }}

# search during a re-index, on the embedded engine, a server and a cluster: just bench-reindex --engine server
bench-reindex *arguments: setup
    .venv/bin/python scripts/bench_reindex {{ arguments }}

# search, duplicates and outliers against the engine alone
bench-search *arguments: setup
    .venv/bin/python scripts/bench_search {{ arguments }}

# the service against the engine alone: just bench-serve --seconds 10
bench-serve *arguments: setup
    .venv/bin/python scripts/bench_serve {{ arguments }}

# our codes against the article's, raw pixels and PCA: just bench-quality --data cifar10 --seeds 3
bench-quality *arguments: setup
    scripts/setup bench
    .venv/bin/python scripts/bench_quality {{ arguments }}

# train, ingest and search on real digits
demo *arguments:
    scripts/demo {{ arguments }}

# write docs/cli.md from the command line
cli-docs: setup
    .venv/bin/python scripts/write_cli_docs

# write the lock files; `just lock --upgrade` takes newer versions
lock *arguments:
    scripts/lock {{ arguments }}

# a real server without Docker: just qdrant start, just qdrant stop
qdrant *arguments: setup
    .venv/bin/python scripts/qdrant {{ arguments }}
