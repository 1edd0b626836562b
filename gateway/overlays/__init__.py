"""A tenant's own rules over ours: versions, their states, the shadow, and how both are decided by."""
