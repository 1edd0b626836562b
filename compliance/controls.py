"""The controls: what we claim, on which requirement it rests, and what we do not claim.

Each is tied to tests by `@pytest.mark.control("<id>")`; tests/repo/test_controls.py fails for a control without a test
and for a mark without a control. A control is a claim about this code, tested here. It is no assessment: PCI DSS is
assessed at an organisation, by people who also look at its machines, its staff and its papers.

Numbers without a standard's name are those of PCI DSS v4.0.1; ASVS is OWASP's, version 5.0.0.
"""

from compliance.claims.cards import CARDS
from compliance.claims.data import DATA
from compliance.claims.decisions import DECISIONS
from compliance.claims.machine import MACHINE
from compliance.claims.people import PEOPLE
from compliance.claims.phone import PHONE
from compliance.claims.rooms import ROOMS
from compliance.claims.tokens import TOKENS

CONTROLS = {control.id: control for control in (*ROOMS, *CARDS, *DECISIONS, *PEOPLE, *DATA, *MACHINE, *TOKENS, *PHONE)}
