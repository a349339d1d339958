"""Tables, structure files and figures of results."""
