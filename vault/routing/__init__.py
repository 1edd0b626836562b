"""Which processor a charge is given to, and to which one next when the first did not act."""
