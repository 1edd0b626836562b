"""Pages for people, plain HTML without JavaScript: logging in by e-mail code, consenting, and the door to a capture."""
