"""Scattering of clusters: the Debye equation, G(r), form factors, and tables that make fits fast."""
