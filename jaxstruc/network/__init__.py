"""The networks: an autoencoder proposes structures for a PDF, and a classifier predicts structure type and sizes."""
