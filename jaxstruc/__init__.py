"""From a measured pair distribution function to the atomic structure of a nanoparticle, and back, in JAX.

The modules are imported by name (`from jaxstruc import scattering`); importing the package itself loads nothing heavy.
"""

__version__ = "0.1.0"
