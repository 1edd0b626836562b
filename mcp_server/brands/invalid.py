class BrandPackInvalid(ValueError):
    """A pack that must not be served: `field` of `file` is wrong; `reason` is one sentence for the pack's author."""

    def __init__(self, file: str, field: str, reason: str) -> None:
        super().__init__(f"{file}: {field}: {reason}")
        self.file = file
        self.field = field
        self.reason = reason
