// Images edited, from every kind of file that the SDK takes. Read streams go out chunked, as octet-stream, in any order.
import fs from "node:fs";
import OpenAI, { toFile } from "openai";
import { baseURL, client, mask, photo, report } from "./client.mjs";

const asked = { model: "dall-e-2", prompt: "A hat", size: "256x256", response_format: "b64_json" };
const bytes = fs.readFileSync(photo);
const image = async (more) => (await client.images.edit({ ...asked, ...more })).data[0].b64_json;

const sent = [];
const watched = new OpenAI({
  baseURL,
  apiKey: "any",
  maxRetries: 0,
  fetch: async (url, init) => {
    const headers = new Headers(init.headers);
    sent.push({ length: headers.get("content-length"), kind: init.body?.constructor?.name });
    return fetch(url, init);
  },
});
const chunked = await watched.images.edit({ ...asked, image: fs.createReadStream(photo) });

report({
  chunked: chunked.data[0].b64_json,
  sent,
  file: await image({ image: await toFile(bytes, "cat.png", { type: "image/png" }) }),
  untyped: await image({ image: await toFile(bytes, "cat") }),
  blob: await image({ image: new File([bytes], "cat.jpg", { type: "image/jpeg" }) }),
  listOfOne: await image({ image: [fs.createReadStream(photo)] }),
  masked: await image({ image: fs.createReadStream(photo), mask: fs.createReadStream(mask) }),
  several: (
    await client.images.edit({
      model: "gpt-image-2",
      prompt: "Both",
      quality: "low",
      image: [await toFile(bytes, "one.png", { type: "image/png" }), fs.createReadStream(photo)],
      mask: await toFile(fs.readFileSync(mask), "mask.png", { type: "image/png" }),
    })
  ).data[0].b64_json,
  nothing: await image({ image: fs.createReadStream(photo), user: "null" }),
});
