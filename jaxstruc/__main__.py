"""`python -m jaxstruc`: the command line."""

from jaxstruc.cli import main

main()
