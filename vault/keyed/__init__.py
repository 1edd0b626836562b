"""Cards keyed in on the telephone: captures of the channel `phone`, taken from the media guard and nobody else."""
