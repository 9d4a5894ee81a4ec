"""`python -m retrieval`, the same as `retrieval`."""

from retrieval.cli import main

main()
