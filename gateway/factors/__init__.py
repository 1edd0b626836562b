"""Stronger ways to show who somebody is: login at an OpenID provider, passkeys, approval on the phone."""
