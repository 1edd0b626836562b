"""Why a wall does not stand."""


class Unavailable(Exception):
    """This machine does not have it, or does not let us. Says why, in words for whoever runs it."""
