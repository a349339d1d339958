"""The conditional variational autoencoder (CVAE) that proposes structures for a PDF."""
