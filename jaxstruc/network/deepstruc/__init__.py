"""The autoencoder for seven structure types with up to 200 atoms (see `model`)."""
