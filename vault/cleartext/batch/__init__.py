"""Many cards at once, from another vault and to another one: the sealed file, its lines, and what is done with them."""
