"""Run the command line by `python -m jaxstruc`."""

from jaxstruc.cli.main import main

main()
