"""`python -m jaxstruc`: the command line."""

from jaxstruc.commands.cli import main

main()
