"""The autoencoder: its layers, its file format, encoding with it, and which saved model a command uses."""
