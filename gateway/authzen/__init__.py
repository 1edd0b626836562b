"""AuthZEN Authorization API 1.0 (OpenID, January 2026) for trusted enforcement points, on a listener of its own."""
