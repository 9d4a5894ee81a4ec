"""The `train` job: images of some sources in, a saved model out."""
