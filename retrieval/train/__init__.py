"""Training: images in, weights and metrics out. Image files are read by `sources`."""
