// What the SDK throws for each refusal.
import fs from "node:fs";
import { client, mask, photo, report } from "./client.mjs";

const found = {};
async function fails(name, ask) {
  try {
    await ask();
  } catch (error) {
    found[name] = {
      name: error.constructor.name,
      status: error.status,
      type: error.type,
      param: error.param,
      code: error.code,
      requestID: error.requestID,
      retryAfter: error.headers?.get("retry-after"),
    };
  }
}

const generate = (more) => () => client.images.generate({ prompt: "A boat", ...more });
await fails("size", generate({ model: "gpt-image-1", size: "512x512" }));
await fails("model", generate({ model: "no-such-model" }));
await fails("refused", generate({ model: "sandbox/refuse" }));
await fails("limited", generate({ model: "sandbox/rate-limited" }));
await fails("broken", generate({ model: "sandbox/error" }));
await fails("streamed", generate({ model: "sandbox/rate-limited", stream: true }));
await fails("image", () =>
  client.images.edit({ model: "dall-e-2", prompt: "A hat", image: new File(["no image"], "cat.png") }),
);
await fails("mask", () =>
  client.images.edit({
    model: "dall-e-2",
    prompt: "A hat",
    image: fs.createReadStream(mask),
    mask: fs.createReadStream(photo),
  }),
);
report(found);
