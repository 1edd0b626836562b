"""An OpenID provider on the inbox's listener: OpenID Connect Core and Discovery 1.0, CIBA Core 1.0 in poll mode."""
