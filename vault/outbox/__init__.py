"""What tenants are told about their money and cards: signed webhooks, at least once.

An event is written in the transaction of what happened (`events.py`, `telling.py`); a courier delivers it afterwards,
again and again for a day (`courier.py`, `sending.py`, `schedule.py`), to addresses the tenant registered
(`endpoints.py`), under keys of their own (`signing.py`). What was not taken stays and can be sent again by hand
(`commands.py`); what was taken is kept for a while (`caretaking.py`).
"""
