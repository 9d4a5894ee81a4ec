"""The autoencoder: its layers, its file format, the encoder, and how a command finds a saved one."""
