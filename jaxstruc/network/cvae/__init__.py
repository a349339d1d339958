"""The conditional variational autoencoder that proposes structures for a PDF."""
