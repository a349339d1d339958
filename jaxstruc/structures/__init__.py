"""Clusters: as arrays, as rules that list them, as a library."""
