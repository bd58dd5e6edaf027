"""Personal data in texts: e-mail and IP addresses, telephone numbers, accounts, cards, secrets.

A kernel finds the bytes at which there may be some (`operators/kernels/personal_data.py`); a module for each kind looks
at their surroundings and says what is there, or nothing. Texts are bytes throughout: they need not be UTF-8. Figures
and what is not found: `docs/personal_data.md`.
"""
