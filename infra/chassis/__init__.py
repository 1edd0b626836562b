"""The microservice chassis: what every service stands on. No domain words, no service imports."""
