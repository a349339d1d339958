"""From pairs of atoms to curves: the Debye equation, G(r), and clusters as fits need them."""
