"use strict";
// The one script of the passkey pages: asks the browser for what the form's data-options say, and posts the answer.
(() => {
  const form = document.querySelector("form[data-options]");
  const button = form.querySelector("button[data-ask]");
  const flaw = document.getElementById("passkey-error");
  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (mark) => mark.charCodeAt(0));
  };
  const text = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const known = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));
  const asked = () => {
    const options = JSON.parse(form.dataset.options);
    options.challenge = bytes(options.challenge);
    if (form.dataset.ceremony === "create") {
      options.user.id = bytes(options.user.id);
      options.excludeCredentials = known(options.excludeCredentials);
      return navigator.credentials.create({ publicKey: options });
    }
    options.allowCredentials = known(options.allowCredentials);
    return navigator.credentials.get({ publicKey: options });
  };
  const posted = (made) => {
    const response = { clientDataJSON: text(made.response.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (made.response[name]) response[name] = text(made.response[name]);
    }
    return JSON.stringify({
      id: made.id, rawId: text(made.rawId), type: made.type, response, clientExtensionResults: {},
    });
  };
  const say = (sentence) => { flaw.textContent = sentence; };
  if (!window.PublicKeyCredential) {
    button.disabled = true;
    say("This browser cannot use passkeys. Open the page in another one.");
    return;
  }
  if (!form.querySelector("button[type=submit]")) {
    // Enter in the name field would send the form without a passkey.
    form.addEventListener("submit", (event) => { event.preventDefault(); button.click(); });
  }
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    say("");
    button.disabled = true;
    try {
      form.elements.credential.value = posted(await asked());
      form.elements.answer.value = "go";
      form.submit();
    } catch (error) {
      button.disabled = false;
      button.focus();
      say(error.name === "InvalidStateError" ? "This device has a passkey for you already."
        : "That did not work, or you stopped it. Press the button to try again.");
    }
  });
})();
