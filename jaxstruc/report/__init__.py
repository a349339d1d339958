"""Tables, structures and pictures, of results alone."""
