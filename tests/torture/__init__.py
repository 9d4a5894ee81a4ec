"""Random operations on real engines, checked against a plain model: see `docs/reliability.md` and `scripts/torture`."""
