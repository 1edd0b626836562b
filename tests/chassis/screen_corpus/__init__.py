"""Texts with and without card numbers, made by grammars: one split to tune the screen on, one held back from it.

The held-back split (`held_back.py`, `held_back_negatives.py`) was written and committed before the screen it judges.
It has other sentence frames, speakers' habits, fillers, separators, scripts and card numbers than the tuning split. Its
results are counted, never read for tuning; it changes only when it says something that is wrong in its language.
"""
