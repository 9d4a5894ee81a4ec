"""Training: arrays in, weights and numbers out. Nothing here opens an image file."""
