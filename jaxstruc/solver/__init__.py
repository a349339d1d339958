"""Measured PDFs to results: the one way that solving, mining and refining share; they differ in their sources."""
