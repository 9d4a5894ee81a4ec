"""Helpers that know nothing of images: files, processes, signals, time limits, prefetching."""
