"""How much may be asked in how much time: by tenant, agent, tool and subject."""
