"""`python -m jaxstruc`: the command line."""

from jaxstruc.cli.main import main

main()
