"""The controls themselves, a module for each part of the house."""
