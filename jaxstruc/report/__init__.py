"""Tables, structures and figures, made from results alone."""
