"""Charges that wait for the card's holder: 3-D Secure at their bank, through a page of ours and back."""
