"""The classifier that predicts the structure type and the sizes of a sample from its PDF."""
