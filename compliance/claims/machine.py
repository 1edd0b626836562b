"""What the machine under the rooms is asked to hold."""

from compliance.claims.control import Control

MACHINE = (
    Control(
        id="UC-1.3",
        title="The vault's network leads nowhere else",
        sources=("PCI DSS 1.3.2", "PCI DSS 1.4.4", "PCI DSS 11.4.5"),
        claim="The runner gives the vault a network of its own where it may (Linux, as root): its listeners and the "
        "processor's port are carried in and out, and there is no other way, to peers, a cloud's metadata, name "
        "servers, IPv6 or the internet. Where there is nftables a packet filter drops whatever else; the one for a "
        "machine the vault shares with others lets nothing leave its user but what the rules name, by any protocol. "
        "From inside a real vault every way out is tried; one that is open where a wall is said to stand fails the "
        "tests.",
        not_claimed="A firewall in production: there the units bound ports and address families, and hosts only where "
        "the operator names them. A unix socket leads through: PostgreSQL (peer or password) is behind it.",
    ),
    Control(
        id="UC-2.3",
        title="Each service is an operating-system user of its own",
        sources=("PCI DSS 2.2.3", "PCI DSS 7.2.1"),
        claim="Where the machine allows it (Linux, as root, a tree others may read) the runner starts each service as "
        "a user that has no account: none reads another's keys, data, environment or memory, or signals it. Where it "
        "does not, `status` and `harden --report` name the reason. The units for systemd name a user each. Root writes "
        "into none of their folders through a link.",
        not_claimed="Anything between two houses on one machine, which use the same numbers, or against root. The "
        "runner itself stays root, and so does what administers a database.",
    ),
    Control(
        id="UC-2.2",
        title="The vault walls itself in",
        sources=("PCI DSS 2.2.4", "PCI DSS 2.2.6", "ASVS 15.2.5"),
        claim="Before it serves, the vault gives up what it will not need: core files, other processes' looks at its "
        "memory, root's powers, new programs and processes, files and ports it was not told of, signals to others. "
        "Each wall is looked at after it is built, reported as it is, and with WALLS=require the vault does not start "
        "without one. Units for systemd, judged by systemd, do the same around every service.",
        not_claimed="Anything against root or the kernel. On a machine that lacks Landlock, libseccomp or the right to "
        "lock memory those walls are missing, which the vault says at its start.",
    ),
)
