"""Options of all commands as frozen dataclasses, which Python and the command line share."""
