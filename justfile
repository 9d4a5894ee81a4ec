# Recipes for common tasks; `just` alone lists them. Each can also be typed by hand as it is written here.

_list:
    @just --list --unsorted

# make or update .venv with the development tools
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

# ingest compared with the least the machine needs: just bench-ingest --large
bench-ingest *arguments: setup
    .venv/bin/python scripts/bench_ingest {{ arguments }}

# search during a re-index, on the embedded engine, a server and a cluster: just bench-reindex --engine server
bench-reindex *arguments: setup
    .venv/bin/python scripts/bench_reindex {{ arguments }}

# search, duplicates and outliers compared with the engine alone
bench-search *arguments: setup
    .venv/bin/python scripts/bench_search {{ arguments }}

# neighbours of all embeddings compared with the bare matrix product, and queries in batches with the engine
bench-neighbours *arguments: setup
    .venv/bin/python scripts/bench_neighbours {{ arguments }}

# the service compared with the engine alone: just bench-serve --seconds 10
bench-serve *arguments: setup
    .venv/bin/python scripts/bench_serve {{ arguments }}

# the page in a real browser
bench-page *arguments: setup
    .venv/bin/python scripts/bench_page {{ arguments }}

# our embeddings compared with what else one could use, on all data sets: just bench-quality --grey --seeds 3
bench-quality *arguments: setup
    .venv/bin/python scripts/bench_quality {{ arguments }}

# our embeddings compared with the article's, on MNIST: just bench-article --seeds 3
bench-article *arguments: setup
    scripts/setup bench
    .venv/bin/python scripts/bench_article {{ arguments }}

# train, ingest and search on real digits
demo *arguments:
    scripts/demo {{ arguments }}

# write docs/cli.md from the help texts
cli-docs: setup
    .venv/bin/python scripts/write_cli_docs

# build the documentation site into site/
docs *arguments:
    scripts/docs {{ arguments }}

# write the lock files; `just lock --upgrade` takes newer versions
lock *arguments:
    scripts/lock {{ arguments }}

# a real server without Docker: just qdrant start, just qdrant stop
qdrant *arguments: setup
    .venv/bin/python scripts/qdrant {{ arguments }}
