"""The classifier that gives structure type and sizes for a PDF."""
