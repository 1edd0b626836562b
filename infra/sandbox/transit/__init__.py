"""A transit engine as HashiCorp Vault and OpenBao serve it, as far as key services need it; in memory only.

Shapes, statuses and error texts are those of a real server, recorded in tests/sandbox/fixtures/transit/golden.json and
replayed in tests/sandbox/test_transit.py; what was not recorded (reading a key, trimming, wrong versions) follows
https://developer.hashicorp.com/vault/api-docs/secret/transit and https://openbao.org/api-docs/secret/transit/.
"""
