"""The OAuth 2.1 authorization server, on Authlib (see compliance/decisions/0004-authorization-server.md)."""
