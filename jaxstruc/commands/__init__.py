"""The command line: the only place that knows folders of files, bars and exit codes."""
