"""Clusters of atoms: lattices, families of shapes, the library of candidates, structure types and descriptions."""
