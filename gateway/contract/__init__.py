"""What the gateway's API takes and answers.

Bearer in `Authorization`; an agent names its conversation, an assistant's bearer carries it. Nothing here lets a caller
state an owner, a price, a level or a tier.

Each module holds one part of the API; everybody imports from here.
"""

from gateway.contract.conversations import *  # noqa: F403 - one name for all the parts
from gateway.contract.decisions import *  # noqa: F403 - one name for all the parts
from gateway.contract.enquiries import *  # noqa: F403 - one name for all the parts
from gateway.contract.factors import *  # noqa: F403 - one name for all the parts
from gateway.contract.forwards import *  # noqa: F403 - one name for all the parts
from gateway.contract.listings import *  # noqa: F403 - one name for all the parts
from gateway.contract.mandates import *  # noqa: F403 - one name for all the parts
from gateway.contract.memories import *  # noqa: F403 - one name for all the parts
from gateway.contract.policies import *  # noqa: F403 - one name for all the parts
from gateway.contract.purchases import *  # noqa: F403 - one name for all the parts
from gateway.contract.record import *  # noqa: F403 - one name for all the parts
from gateway.contract.step_up import *  # noqa: F403 - one name for all the parts
from gateway.contract.values import *  # noqa: F403 - one name for all the parts
