"""The autoencoder that proposes structures for a PDF, and how it is trained."""
