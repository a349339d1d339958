"""Options of all commands and trainings as frozen dataclasses, shared by Python and the command line."""
