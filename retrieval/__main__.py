"""`retrieval`, and `python -m retrieval`."""

import atexit
import gc

GC_THRESHOLD = 20_000
"""New objects between two garbage collections. With Python's own 700 or 2,000, imports spend a tenth of their time in
collections that find nothing."""


def main() -> None:
    """Run the command line in a process of its own."""
    gc.set_threshold(GC_THRESHOLD)
    atexit.register(gc.freeze)  # else Python looks for garbage several times more before it ends
    from retrieval.cli import main

    main()


if __name__ == "__main__":
    main()
