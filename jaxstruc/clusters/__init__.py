"""Clusters of atoms: lattices, families of shapes, the library, types and descriptions."""
