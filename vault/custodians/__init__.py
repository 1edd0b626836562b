"""The custody of the vault's root: no one person can open it, and enough of several can.

A custody key seals the root file (or the token's PIN) and is nowhere but in the memory of an opened vault; each
custodian has a full-length share of it on paper. `shamir` and `sheets` are what a share is and how it is written,
`people` how a custodian proves himself, `record` what is written down, `ceremony` and `reshare` what is done at the
terminal, `door` where a sealed vault is given shares, `gate` what it answers until then.
"""
