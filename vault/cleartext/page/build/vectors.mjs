// Seals one text under each suite with the packages of the page's script, to keys of its own, and prints everything that
// is needed to open it: tests/vault/vectors/hpke.json. Every run prints other vectors; any of them must open.

import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";

const kems = { "x-wing": XWing, x25519: DhkemX25519HkdfSha256 };
const hex = (buffer) => Buffer.from(buffer).toString("hex");

async function vector([name, Kem]) {
  const suite = new CipherSuite({ kem: new Kem(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
  const { privateKey, publicKey } = await suite.kem.generateKeyPair();
  const info = ["undercroft-card-form-2", "tnt_vector", "cap_vector", name, "pgk_vector"].join("\n");
  const plaintext = '{"number":"","expiry":"12/40","code":"","holder":"Ada Byron"}';
  const sender = await suite.createSenderContext({ recipientPublicKey: publicKey, info: new TextEncoder().encode(info) });
  const ct = await sender.seal(new TextEncoder().encode(plaintext));
  return {
    suite: name,
    private_key: hex(await suite.kem.serializePrivateKey(privateKey)),
    public_key: hex(await suite.kem.serializePublicKey(publicKey)),
    info,
    plaintext,
    enc: hex(sender.enc),
    ct: hex(ct),
  };
}

const vectors = await Promise.all(Object.entries(kems).map(vector));
process.stdout.write(`${JSON.stringify(vectors, null, 2)}\n`);
